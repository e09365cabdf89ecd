//! Adding, listing, approving and suspending operators.

use super::db::{self, OperatorRow, OperatorState};
use crate::app::App;
use crate::features::audit;
use crate::http::{Asked, Json, PageQuery, Paged, Path, Permission, Principal, Problem, ProblemBody};
use crate::notices::{self, Notice};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(suspend))
}

/// A person who runs boxes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Operator {
    id: Uuid,
    name: String,
    email: String,
    state: OperatorState,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    decided_at: Option<OffsetDateTime>,
}

impl From<OperatorRow> for Operator {
    fn from(row: OperatorRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            email: row.email,
            state: row.state,
            created_at: row.created_at,
            decided_at: row.decided_at,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOperator {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 3, max_length = 254)]
    email: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only operators in this state.
    #[param(inline)]
    state: Option<OperatorState>,
}

/// List operators, newest first.
#[utoipa::path(get, path = "/operators", tag = "operators", params(PageQuery, Filter), security(("bearer" = [])),
    responses((status = 200, body = Paged<Operator>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    who: Principal,
    Asked { page, filter }: Asked<Uuid, Filter>,
) -> Result<Json<Paged<Operator>>, Problem> {
    who.require(Permission::ReadOperators)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let rows = db::list(&mut tx, filter.state, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |operator: &Operator| operator.id)))
}

/// Add an operator, who then waits for a decision.
#[utoipa::path(post, path = "/operators", tag = "operators", request_body = NewOperator, security(("bearer" = [])),
    responses((status = 201, body = Operator), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    who: Principal,
    Json(new): Json<NewOperator>,
) -> Result<(StatusCode, Json<Operator>), Problem> {
    who.require(Permission::WriteOperators)?;
    let (name, email) = (new.name.trim(), new.email.trim().to_lowercase());
    if name.is_empty() || name.len() > 200 || name.contains('\0') {
        return Err(Problem::bad_request("name", "an operator needs a name of 1 to 200 bytes"));
    }
    let plausible = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !plausible || email.len() > 254 || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::bad_request("email", "an operator needs an e-mail address"));
    }
    let mut tx = app.database.scoped(who.scope).await?;
    let row = db::insert(&mut tx, name, &email).await.map_err(|error| match error.as_database_error() {
        Some(inner) if inner.is_unique_violation() => {
            Problem::conflict("email-taken", "there is an operator with this e-mail address already")
        }
        _ => error.into(),
    })?;
    audit::record(&mut tx, &who.actor, "operator.add", &row.id.to_string(), &json!({ "email": email }))
        .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

/// Show one operator.
#[utoipa::path(get, path = "/operators/{id}", tag = "operators", params(("id" = Uuid, Path)), security(("bearer" = [])),
    responses((status = 200, body = Operator), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(
    State(app): State<App>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<Operator>, Problem> {
    who.require(Permission::ReadOperators)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let row = db::find(&mut tx, id).await?.ok_or_else(|| Problem::not_found("operator"))?;
    Ok(Json(row.into()))
}

/// Approve an operator: nodes may be added for them.
#[utoipa::path(post, path = "/operators/{id}/approve", tag = "operators", params(("id" = Uuid, Path)), security(("bearer" = [])),
    responses((status = 200, body = Operator), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn approve(app: State<App>, who: Principal, id: Path<Uuid>) -> Result<Json<Operator>, Problem> {
    decide(app, who, id, OperatorState::Approved, "operator.approve").await
}

/// Suspend an operator: the sessions of their nodes end within seconds and no new one is let in, until they are approved again.
#[utoipa::path(post, path = "/operators/{id}/suspend", tag = "operators", params(("id" = Uuid, Path)), security(("bearer" = [])),
    responses((status = 200, body = Operator), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn suspend(app: State<App>, who: Principal, id: Path<Uuid>) -> Result<Json<Operator>, Problem> {
    decide(app, who, id, OperatorState::Suspended, "operator.suspend").await
}

async fn decide(
    State(app): State<App>,
    who: Principal,
    Path(id): Path<Uuid>,
    state: OperatorState,
    action: &str,
) -> Result<Json<Operator>, Problem> {
    who.require(Permission::WriteOperators)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let row = db::decide(&mut tx, id, state).await?.ok_or_else(|| Problem::not_found("operator"))?;
    audit::record(&mut tx, &who.actor, action, &id.to_string(), &json!({})).await?;
    notices::send(&mut *tx, Notice::Standing).await?;
    tx.commit().await?;
    Ok(Json(row.into()))
}
