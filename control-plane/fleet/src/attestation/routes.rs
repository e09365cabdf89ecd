//! The API of attestations.

use super::acts;
use super::db::{self, AttestationRow};
use super::terms::Challenge;
use crate::nodes::{READ_NODES, find_node};
use crate::state::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{
    Asked, Json, Made, NodeParam, NodePath, PageQuery, Paged, Path, Principal, Problem, Refused, Request,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new()
        .routes(routes!(list, request))
        .routes(routes!(accept))
        .merge(super::expected::routes())
        .merge(super::event_log::routes())
}

/// One challenge to a node, and its outcome.
#[derive(Debug, Serialize, ToSchema)]
struct Attestation {
    challenge: String,
    requested_by: String,
    #[serde(with = "time::serde::rfc3339")]
    requested_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    answered_at: Option<OffsetDateTime>,
    /// `trusted`, `changed`, `refused`, `unavailable`, `silent` or `software`; absent until the challenge is
    /// answered or its time is over.
    verdict: Option<String>,
    detail: Option<String>,
    /// Register index to hex value, as quoted.
    pcrs: Option<Value>,
}

impl From<AttestationRow> for Attestation {
    fn from(row: AttestationRow) -> Self {
        Self {
            challenge: hex::encode(row.challenge),
            requested_by: row.requested_by,
            requested_at: row.requested_at,
            answered_at: row.answered_at,
            verdict: row.verdict,
            detail: row.detail,
            pcrs: row.pcrs,
        }
    }
}

/// The key that a page of attestations ends with.
#[derive(Serialize, Deserialize)]
struct Key(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

/// List a node's attestations, newest first.
#[utoipa::path(
    get,
    path = "/nodes/{node}/attestations",
    tag = "attestation",
    params(NodeParam, PageQuery),
    responses((status = 200, body = Paged<Attestation>), Refused)
)]
async fn list(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Asked { page, .. }: Asked<Key>,
) -> Result<Json<Paged<Attestation>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    find_node(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let rows = db::list(&mut act, &node, page.after.map(|Key(at)| at), page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |attestation: &Attestation| Key(attestation.requested_at))))
}

/// An empty object.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAttestation {}

#[derive(Debug, Serialize, ToSchema)]
struct Requested {
    /// The name of the challenge in the list of attestations.
    challenge: String,
}

/// Ask a node for an attestation now; a challenge that is still open is repeated. The answer comes when the
/// node is connected.
#[utoipa::path(
    post,
    path = "/nodes/{node}/attestations",
    tag = "attestation",
    params(NodeParam),
    request_body = Option<NewAttestation>,
    responses((status = 201, body = Requested), Refused)
)]
async fn request(
    State(fleet): State<Arc<Fleet>>,
    Path(node): NodePath,
    request: Request<NewAttestation>,
) -> Result<Made, Problem> {
    let mask = fleet.settings.enrolment.pcr_mask();
    fleet
        .kernel
        .make(request, move |act, NewAttestation {}| {
            Box::pin(async move { Ok(Requested { challenge: acts::request(act, &node, mask).await? }) })
        })
        .await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcceptBaseline {
    /// The attestation whose registers were looked at.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    challenge: Challenge,
}

/// Accept the registers that one attestation has shown as the node's baseline.
#[utoipa::path(
    post,
    path = "/nodes/{node}/baseline",
    tag = "attestation",
    params(NodeParam),
    request_body = AcceptBaseline,
    responses((status = 204), Refused)
)]
async fn accept(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Json(accepted): Json<AcceptBaseline>,
) -> Result<StatusCode, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    acts::accept(&mut act, &node, accepted.challenge.0, fleet.settings.enrolment.pcr_mask()).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
