//! Asking for an attestation, reading verdicts, accepting a new baseline.

use super::db::{self, AttestationRow};
use crate::app::App;
use crate::features::{audit, nodes};
use crate::http::{
    Asked, Json, NodePath, PageQuery, Paged, Path, Permission, Principal, Problem, ProblemBody,
};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, request)).routes(routes!(accept))
}

/// One question to a node, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
struct Attestation {
    challenge: String,
    requested_by: String,
    #[serde(with = "time::serde::rfc3339")]
    requested_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    answered_at: Option<OffsetDateTime>,
    /// `trusted`, `changed`, `refused`, `unavailable`, `silent` or `software`; absent until it is answered.
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

/// What a page of attestations ends with.
#[derive(Serialize, Deserialize)]
struct Key(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

/// List a node's attestations, newest first.
#[utoipa::path(get, path = "/nodes/{node}/attestations", tag = "attestation", params(("node" = String, Path), PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Paged<Attestation>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
    Asked { page, .. }: Asked<Key>,
) -> Result<Json<Paged<Attestation>>, Problem> {
    who.require(Permission::ReadNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    nodes::find_node(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let rows = db::list(&mut tx, &node, page.after.map(|Key(at)| at), page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |attestation: &Attestation| Key(attestation.requested_at))))
}

#[derive(Debug, Serialize, ToSchema)]
struct Requested {
    /// Look for it in the list of attestations.
    challenge: String,
}

/// Ask a node for an attestation now; if it has been asked already, wait for the same answer. It comes when the node
/// is connected.
#[utoipa::path(post, path = "/nodes/{node}/attestations", tag = "attestation", params(("node" = String, Path)), security(("bearer" = [])),
    responses((status = 202, body = Requested), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn request(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
) -> Result<(StatusCode, Json<Requested>), Problem> {
    who.require(Permission::Attest)?;
    let mut tx = app.database.scoped(who.scope).await?;
    nodes::find_node(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let challenge =
        db::request(&mut tx, &node, &who.actor, app.config.enrolment.pcr_mask()).await?.ok_or_else(|| {
            Problem::conflict(
                "not-enrolled",
                "the node is not enrolled, or it is revoked, or its operator is suspended",
            )
        })?;
    let challenge = hex::encode(challenge);
    let detail = json!({ "challenge": challenge });
    audit::record(&mut tx, &who.actor, "node.attest", &node.to_string(), &detail).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Requested { challenge })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Accepted {
    /// The attestation whose registers were looked at.
    challenge: String,
}

/// Accept the registers that one attestation has shown as the node's baseline.
#[utoipa::path(post, path = "/nodes/{node}/baseline", tag = "attestation", params(("node" = String, Path)), request_body = Accepted, security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn accept(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
    Json(accepted): Json<Accepted>,
) -> Result<StatusCode, Problem> {
    who.require(Permission::Attest)?;
    let challenge = hex::decode(&accepted.challenge)
        .map_err(|_| Problem::bad_request("challenge", "an attestation is named by its challenge, in hex"))?;
    let mut tx = app.database.scoped(who.scope).await?;
    nodes::find_node(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let pcrs = db::accept_baseline(&mut tx, &node, &challenge).await?.ok_or_else(|| {
        Problem::conflict(
            "no-attestation",
            "no attestation of this node with that challenge has shown its registers",
        )
    })?;
    let detail = json!({ "challenge": accepted.challenge, "registers": pcrs });
    audit::record(&mut tx, &who.actor, "node.baseline", &node.to_string(), &detail).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
