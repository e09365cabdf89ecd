//! The API of work that was given up: seeing such work, trying it again, forgetting it.

use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::work::{self, DeadPiece};
use noderr_kernel::{
    Asked, Feature, Json, Kernel, PageQuery, Paged, Path, Permission, Principal, Problem, Refused, Role,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// What this feature brings.
pub(super) const FEATURE: Feature<Arc<Kernel>> = Feature {
    routes,
    permissions: &[&READ_WORK, &WRITE_WORK],
    metrics: noderr_kernel::METRICS,
    ..Feature::named("work")
};

const READ_WORK: Permission = Permission {
    name: "read-work",
    about: "See work that was given up",
    roles: &[Role::Fleet, Role::Reviewer, Role::Auditor],
    operators: false,
};

const WRITE_WORK: Permission = Permission {
    name: "write-work",
    about: "Try work that was given up again, or forget it",
    roles: &[],
    operators: false,
};

fn routes() -> OpenApiRouter<Arc<Kernel>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(revive)).routes(routes!(remove))
}

/// A piece of work that was given up.
#[derive(Debug, Serialize, ToSchema)]
struct DeadWork {
    id: Uuid,
    /// The kind of work.
    queue: String,
    /// The content of the piece.
    payload: Value,
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    dead_at: OffsetDateTime,
    attempts: i32,
    /// Why the last attempt failed.
    last_error: Option<String>,
}

impl From<DeadPiece> for DeadWork {
    fn from(piece: DeadPiece) -> Self {
        Self {
            id: piece.id,
            queue: piece.queue,
            payload: piece.payload,
            enqueued_at: piece.enqueued_at,
            dead_at: piece.dead_at,
            attempts: piece.attempts,
            last_error: piece.last_error,
        }
    }
}

/// The key that a page of work ends with.
#[derive(Serialize, Deserialize)]
struct Key(#[serde(with = "time::serde::rfc3339")] OffsetDateTime, Uuid);

/// List work that was given up, newest first.
#[utoipa::path(
    get,
    path = "/work",
    tag = "work",
    params(PageQuery),
    responses((status = 200, body = Paged<DeadWork>), Refused)
)]
async fn list(
    State(kernel): State<Arc<Kernel>>,
    who: Principal,
    Asked { page, .. }: Asked<Key>,
) -> Result<Json<Paged<DeadWork>>, Problem> {
    who.require(&READ_WORK)?;
    let mut act = kernel.begin(who).await?;
    let pieces = work::dead(&mut act, page.after.map(|Key(at, id)| (at, id)), page.limit).await?;
    Ok(Json(Paged::new(pieces, page.limit, |work: &DeadWork| Key(work.dead_at, work.id))))
}

/// Try a piece of work that was given up again, from its first attempt on.
#[utoipa::path(
    post,
    path = "/work/{id}/retry",
    tag = "work",
    params(("id" = Uuid, Path)),
    responses((status = 204), Refused)
)]
async fn revive(
    State(kernel): State<Arc<Kernel>>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    who.require(&WRITE_WORK)?;
    let mut act = kernel.begin(who).await?;
    let queue =
        work::revive(&mut act, id).await?.ok_or_else(|| Problem::not_found("work that was given up"))?;
    act.record("work.retry", id, &json!({ "queue": queue })).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a piece of work that was given up.
#[utoipa::path(
    delete,
    path = "/work/{id}",
    tag = "work",
    params(("id" = Uuid, Path)),
    responses((status = 204), Refused)
)]
async fn remove(
    State(kernel): State<Arc<Kernel>>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    who.require(&WRITE_WORK)?;
    let mut act = kernel.begin(who).await?;
    act.require_fresh_proof()?;
    if !work::remove(&mut act, id).await? {
        return Err(Problem::not_found("work that was given up"));
    }
    act.record("work.forget", id, &json!({})).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
