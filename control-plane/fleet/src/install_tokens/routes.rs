//! The API of install tokens.

use super::acts;
use super::db::{self, TokenRow};
use crate::nodes::READ_NODES;
use crate::state::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{Json, Made, NodeParam, NodePath, Path, Principal, Problem, Refused, Request};
use noderr_protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(withdraw))
}

/// An install token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct InstallToken {
    id: Uuid,
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    used_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    withdrawn_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedInstallToken {
    #[serde(flatten)]
    token: InstallToken,
    /// The secret, for the box's configuration, shown this once.
    secret: String,
}

impl From<TokenRow> for InstallToken {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            withdrawn_at: row.withdrawn_at,
        }
    }
}

/// List a node's install tokens, newest first.
#[utoipa::path(
    get,
    path = "/nodes/{node}/install-tokens",
    tag = "nodes",
    params(NodeParam),
    responses((status = 200, body = Vec<InstallToken>), Refused)
)]
async fn list(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
) -> Result<Json<Vec<InstallToken>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    db::node_may_enrol(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    Ok(Json(db::list(&mut act, &node).await?.into_iter().map(InstallToken::from).collect()))
}

/// An empty object.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInstallToken {}

/// Issue an install token for a node.
#[utoipa::path(
    post,
    path = "/nodes/{node}/install-tokens",
    tag = "nodes",
    params(NodeParam),
    request_body = Option<NewInstallToken>,
    responses((status = 201, body = CreatedInstallToken), Refused)
)]
async fn create(
    State(fleet): State<Arc<Fleet>>,
    Path(node): NodePath,
    request: Request<NewInstallToken>,
) -> Result<Made, Problem> {
    let life = Duration::hours(fleet.settings.enrolment.token_hours.into());
    fleet
        .kernel
        .make_secret(request, move |act, NewInstallToken {}| {
            Box::pin(async move {
                let (row, secret) = acts::issue(act, &node, life).await?;
                Ok(CreatedInstallToken { token: row.into(), secret })
            })
        })
        .await
}

/// Withdraw an install token: no box enrols with it any more. A box that has enrolled with it stays.
#[utoipa::path(
    post,
    path = "/nodes/{node}/install-tokens/{id}/withdraw",
    tag = "nodes",
    params(NodeParam, ("id" = Uuid, Path)),
    responses((status = 204), Refused)
)]
async fn withdraw(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path((node, id)): Path<(NodeId, Uuid)>,
) -> Result<StatusCode, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    acts::withdraw(&mut act, &node, id).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
