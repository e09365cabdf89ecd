//! The API of API tokens.

use super::acts;
use super::db::{self, TokenRow};
use super::terms::MANAGE_TOKENS;
use crate::People;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{
    Asked, Json, Line, Made, PageQuery, Paged, Path, Principal, Problem, Refused, Request, Within,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Arc<People>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What the token is for; shown in lists and in the audit log.
    name: Line<100>,
    /// What the token may do; the issuer must hold each permission too.
    #[schema(schema_with = permissions)]
    permissions: Vec<String>,
    /// Bind the token to one operator: the token sees that operator's rows and no others, and may only read.
    operator: Option<Uuid>,
    /// Days the token is good for, but no longer than the token that it is issued with; 90 if absent.
    expires_in_days: Option<Within<1, 365>>,
}

/// An API token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    id: Uuid,
    name: String,
    permissions: Vec<String>,
    operator: Option<Uuid>,
    /// The administrator who answers for the token.
    owner: Uuid,
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedToken {
    #[serde(flatten)]
    token: Token,
    /// The secret, shown this once.
    secret: String,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            permissions: row.permissions,
            operator: row.operator_id,
            owner: row.owner_id,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// List API tokens, newest first.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "access",
    params(PageQuery),
    responses((status = 200, body = Paged<Token>), Refused)
)]
async fn list(
    State(people): State<Arc<People>>,
    who: Principal,
    Asked { page, .. }: Asked<Uuid>,
) -> Result<Json<Paged<Token>>, Problem> {
    who.require(&MANAGE_TOKENS)?;
    let mut act = people.kernel.begin(who).await?;
    let rows = db::list(&mut act, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |token: &Token| token.id)))
}

/// Issue an API token.
#[utoipa::path(
    post,
    path = "/tokens",
    tag = "access",
    request_body = NewToken,
    responses((status = 201, body = CreatedToken), Refused)
)]
async fn create(State(people): State<Arc<People>>, request: Request<NewToken>) -> Result<Made, Problem> {
    let known = people.kernel.permissions.clone();
    people
        .kernel
        .make_secret(request, move |act, new| {
            Box::pin(async move {
                let new = acts::NewToken {
                    name: new.name,
                    permissions: new.permissions,
                    operator: new.operator,
                    expires_in_days: new.expires_in_days.map(Within::get),
                };
                let (row, secret) = acts::issue(act, &known, new).await?;
                Ok(CreatedToken { token: row.into(), secret })
            })
        })
        .await
}

/// Revoke an API token and all tokens that were issued with it; all of them stop working at once.
#[utoipa::path(
    post,
    path = "/tokens/{id}/revoke",
    tag = "access",
    params(("id" = Uuid, Path)),
    responses((status = 204), Refused)
)]
async fn revoke(
    State(people): State<Arc<People>>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let mut act = people.kernel.begin(who).await?;
    acts::revoke(&mut act, &people.kernel.permissions, id).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names from the one list of permissions.
fn permissions() -> utoipa::openapi::schema::Array {
    utoipa::openapi::schema::ArrayBuilder::new()
        .items(utoipa::openapi::Ref::from_schema_name("Permission"))
        .build()
}
