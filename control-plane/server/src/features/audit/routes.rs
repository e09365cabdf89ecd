//! Reading and checking the audit log.

use super::db::{self, EntryRow};
use crate::app::App;
use crate::http::{Asked, Json, PageQuery, Paged, Permission, Principal, Problem, ProblemBody};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify))
}

/// One entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    seq: i64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    actor: String,
    action: String,
    subject: String,
    detail: Value,
    /// SHA-256 over the entry and the hash before it, hex.
    hash: String,
}

impl From<EntryRow> for AuditEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            detail: row.detail,
            hash: hex::encode(row.hash),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only entries about this subject: a node, operator or token id, or an e-mail address.
    subject: Option<String>,
}

/// Read the audit log, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(PageQuery, Filter), security(("bearer" = [])),
    responses((status = 200, body = Paged<AuditEntry>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    who: Principal,
    Asked { page, filter }: Asked<i64, Filter>,
) -> Result<Json<Paged<AuditEntry>>, Problem> {
    who.require(Permission::ReadAudit)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let rows = db::list(&mut tx, filter.subject.as_deref(), page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |entry: &AuditEntry| entry.seq)))
}

/// What checking the chain found.
#[derive(Debug, Serialize, ToSchema)]
struct ChainCheck {
    /// Entries in the log.
    entries: i64,
    /// Whether every entry fits the one before it.
    intact: bool,
    /// The first entry that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
    /// The newest entry's hash. Kept elsewhere together with the number of entries, it shows later that none was cut
    /// off the end.
    newest: Option<String>,
}

/// Check the whole chain.
#[utoipa::path(get, path = "/audit/check", tag = "audit", security(("bearer" = [])),
    responses((status = 200, body = ChainCheck), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn verify(State(app): State<App>, who: Principal) -> Result<Json<ChainCheck>, Problem> {
    who.require(Permission::ReadAudit)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let db::Chain { entries, broken_at, newest } = db::verify(&mut tx).await?;
    Ok(Json(ChainCheck { entries, intact: broken_at.is_none(), broken_at, newest: newest.map(hex::encode) }))
}
