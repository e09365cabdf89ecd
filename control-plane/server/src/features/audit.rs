//! The API of the audit log: reading the log, and checking its chain.

use axum::extract::State;
use noderr_kernel::{
    Asked, Feature, Json, Kernel, PageQuery, Paged, Permission, Principal, Problem, Refused, Role,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What this feature brings.
pub(super) const FEATURE: Feature<Arc<Kernel>> =
    Feature { routes, permissions: &[&READ_AUDIT], ..Feature::named("audit") };

const READ_AUDIT: Permission = Permission {
    name: "read-audit",
    about: "Read and check the audit log",
    roles: &[Role::Auditor],
    operators: false,
};

fn routes() -> OpenApiRouter<Arc<Kernel>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify))
}

/// One entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    seq: i64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The actor: `admin`, `operator` or `token` with an id, or a part of the control plane.
    actor: String,
    /// The current name of the actor; absent if the actor is gone.
    actor_name: Option<String>,
    action: String,
    subject: String,
    detail: Value,
    /// SHA-256 over the entry and the hash before it, hex.
    hash: String,
}

struct EntryRow {
    seq: i64,
    at: OffsetDateTime,
    actor: String,
    actor_name: Option<String>,
    action: String,
    subject: String,
    detail: Value,
    hash: Vec<u8>,
}

impl From<EntryRow> for AuditEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            actor: row.actor,
            actor_name: row.actor_name,
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
    /// Only entries about this subject: the id of a node, an operator, a token or an administrator, or an
    /// administrator's or operator's e-mail address.
    subject: Option<String>,
}

/// Read the audit log, newest first.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "audit",
    params(PageQuery, Filter),
    responses((status = 200, body = Paged<AuditEntry>), Refused)
)]
async fn list(
    State(kernel): State<Arc<Kernel>>,
    who: Principal,
    Asked { page, filter }: Asked<i64, Filter>,
) -> Result<Json<Paged<AuditEntry>>, Problem> {
    who.require(&READ_AUDIT)?;
    let mut act = kernel.begin(who).await?;
    let rows = entries(&mut act, filter.subject.as_deref(), page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |entry: &AuditEntry| entry.seq)))
}

async fn entries(
    connection: &mut PgConnection,
    subject: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<EntryRow>> {
    sqlx::query_as!(
        EntryRow,
        r#"SELECT l.seq, l.at, l.actor, l.action, l.subject, l.detail, l.hash,
             coalesce(a.email, t.name, o.email) AS actor_name
           FROM audit_log l
           LEFT JOIN admins a ON l.actor = 'admin ' || a.id
           LEFT JOIN api_tokens t ON l.actor = 'token ' || t.id
           LEFT JOIN operators o ON l.actor = 'operator ' || o.id
           WHERE ($1::text IS NULL OR l.subject = $1
               OR l.subject IN (SELECT id::text FROM admins WHERE email = lower($1)
                                UNION ALL SELECT id::text FROM operators WHERE email = lower($1)))
             AND ($2::bigint IS NULL OR l.seq < $2) ORDER BY l.seq DESC LIMIT $3"#,
        subject,
        before,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// The result of checking the chain.
#[derive(Debug, Serialize, ToSchema)]
struct ChainCheck {
    /// Entries in the log.
    entries: i64,
    /// Whether every entry fits the one before it.
    intact: bool,
    /// The first entry that does not fit the entry before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
    /// The newest entry's hash. Kept elsewhere together with the number of entries, the hash shows later
    /// whether entries were cut off the end.
    newest: Option<String>,
}

/// Check the whole chain.
#[utoipa::path(get, path = "/audit/check", tag = "audit", responses((status = 200, body = ChainCheck), Refused))]
async fn verify(State(kernel): State<Arc<Kernel>>, who: Principal) -> Result<Json<ChainCheck>, Problem> {
    who.require(&READ_AUDIT)?;
    let mut act = kernel.begin(who).await?;
    let chain = sqlx::query!(
        r#"SELECT count(*) AS "entries!", min(seq) FILTER (WHERE NOT fits) AS broken_at,
             (SELECT hash FROM audit_log ORDER BY seq DESC LIMIT 1) AS newest FROM (
             SELECT seq, seq = row_number() OVER (ORDER BY seq) AND hash = audit_hash(
                 coalesce(lag(hash) OVER (ORDER BY seq), ''::bytea), seq, at, actor, action, subject, detail) AS fits
             FROM audit_log) chain"#
    )
    .fetch_one(&mut *act)
    .await?;
    Ok(Json(ChainCheck {
        entries: chain.entries,
        intact: chain.broken_at.is_none(),
        broken_at: chain.broken_at,
        newest: chain.newest.map(hex::encode),
    }))
}
