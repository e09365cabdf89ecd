//! The API of operators.

use super::acts;
use super::db::{self, OperatorRow, OperatorState};
use super::terms::READ_OPERATORS;
use crate::People;
use axum::extract::State;
use noderr_kernel::{
    Asked, Email, Json, Line, Made, PageQuery, Paged, Path, Principal, Problem, Refused, Request,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Arc<People>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(suspend))
}

/// A person who runs boxes.
#[derive(Debug, Serialize, ToSchema)]
struct Operator {
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
    name: Line<200>,
    email: Email,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only operators in this state.
    #[param(inline)]
    state: Option<OperatorState>,
}

/// List operators, newest first.
#[utoipa::path(
    get,
    path = "/operators",
    tag = "operators",
    params(PageQuery, Filter),
    responses((status = 200, body = Paged<Operator>), Refused)
)]
async fn list(
    State(people): State<Arc<People>>,
    who: Principal,
    Asked { page, filter }: Asked<Uuid, Filter>,
) -> Result<Json<Paged<Operator>>, Problem> {
    who.require(&READ_OPERATORS)?;
    let mut act = people.kernel.begin(who).await?;
    let rows = db::list(&mut act, filter.state, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |operator: &Operator| operator.id)))
}

/// Add an operator, who then waits for a decision.
#[utoipa::path(
    post,
    path = "/operators",
    tag = "operators",
    request_body = NewOperator,
    responses((status = 201, body = Operator), Refused)
)]
async fn create(State(people): State<Arc<People>>, request: Request<NewOperator>) -> Result<Made, Problem> {
    people
        .kernel
        .make(request, |act, new| {
            Box::pin(async move { acts::add(act, &new.name, &new.email).await.map(Operator::from) })
        })
        .await
}

/// Show one operator.
#[utoipa::path(
    get,
    path = "/operators/{id}",
    tag = "operators",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Operator), Refused)
)]
async fn show(
    State(people): State<Arc<People>>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<Operator>, Problem> {
    who.require(&READ_OPERATORS)?;
    let mut act = people.kernel.begin(who).await?;
    let row = db::find(&mut act, id).await?.ok_or_else(|| Problem::not_found("operator"))?;
    Ok(Json(row.into()))
}

/// Approve an operator: nodes may be added for them.
#[utoipa::path(
    post,
    path = "/operators/{id}/approve",
    tag = "operators",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Operator), Refused)
)]
async fn approve(
    people: State<Arc<People>>,
    who: Principal,
    id: Path<Uuid>,
) -> Result<Json<Operator>, Problem> {
    decide(people, who, id, OperatorState::Approved).await
}

/// Suspend an operator: the sessions of the operator's nodes end within seconds and no new session begins,
/// until the operator is approved again.
#[utoipa::path(
    post,
    path = "/operators/{id}/suspend",
    tag = "operators",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Operator), Refused)
)]
async fn suspend(
    people: State<Arc<People>>,
    who: Principal,
    id: Path<Uuid>,
) -> Result<Json<Operator>, Problem> {
    decide(people, who, id, OperatorState::Suspended).await
}

async fn decide(
    State(people): State<Arc<People>>,
    who: Principal,
    Path(id): Path<Uuid>,
    state: OperatorState,
) -> Result<Json<Operator>, Problem> {
    let mut act = people.kernel.begin(who).await?;
    let row = acts::decide(&mut act, id, state).await?;
    act.commit().await?;
    Ok(Json(row.into()))
}
