//! Issuing and listing install tokens.

use super::db::{self, TokenRow};
use crate::app::App;
use crate::features::access::{hash_secret, new_secret};
use crate::features::audit;
use crate::http::{Json, NodePath, Path, Permission, Principal, Problem, ProblemBody};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create))
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
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedInstallToken {
    #[serde(flatten)]
    token: InstallToken,
    /// The secret, for the box's configuration. It is shown this once.
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
        }
    }
}

/// List a node's install tokens, newest first.
#[utoipa::path(get, path = "/nodes/{node}/install-tokens", tag = "nodes", params(("node" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = Vec<InstallToken>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
) -> Result<Json<Vec<InstallToken>>, Problem> {
    who.require(Permission::ReadNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    db::node_may_enrol(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    Ok(Json(db::list(&mut tx, &node).await?.into_iter().map(InstallToken::from).collect()))
}

/// Issue an install token for a node.
#[utoipa::path(post, path = "/nodes/{node}/install-tokens", tag = "nodes", params(("node" = String, Path)), security(("bearer" = [])),
    responses((status = 201, body = CreatedInstallToken), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
) -> Result<(StatusCode, Json<CreatedInstallToken>), Problem> {
    who.require(Permission::WriteNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let may = db::node_may_enrol(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    if !may {
        let detail = "the node is revoked, or its operator is not approved";
        return Err(Problem::conflict("may-not-enrol", detail));
    }
    let secret = new_secret("nit");
    let expires_at = OffsetDateTime::now_utc() + Duration::hours(app.config.enrolment.token_hours.into());
    let row = db::insert(&mut tx, &node, &hash_secret(&secret), &who.actor, expires_at).await?;
    let detail = json!({ "token": row.id });
    audit::record(&mut tx, &who.actor, "install-token.issue", &node.to_string(), &detail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedInstallToken { token: row.into(), secret })))
}
