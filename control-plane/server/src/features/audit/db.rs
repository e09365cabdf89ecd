//! Statements about the audit log.

use crate::database::Tx;
use serde_json::Value;
use time::OffsetDateTime;

/// Writes an entry in the transaction of the act itself: the act and its entry are committed together or not at all.
pub(crate) async fn record(
    tx: &mut Tx,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query_scalar!("SELECT audit($1, $2, $3, $4)", actor, action, subject, detail)
        .fetch_one(&mut **tx)
        .await?;
    Ok(())
}

pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) at: OffsetDateTime,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) subject: String,
    pub(super) detail: Value,
    pub(super) hash: Vec<u8>,
}

pub(super) async fn list(
    tx: &mut Tx,
    subject: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<EntryRow>> {
    sqlx::query_as!(
        EntryRow,
        "SELECT seq, at, actor, action, subject, detail, hash FROM audit_log
         WHERE ($1::text IS NULL OR subject = $1) AND ($2::bigint IS NULL OR seq < $2) ORDER BY seq DESC LIMIT $3",
        subject,
        before,
        limit + 1
    )
    .fetch_all(&mut **tx)
    .await
}

pub(super) struct Chain {
    pub(super) entries: i64,
    pub(super) broken_at: Option<i64>,
    pub(super) newest: Option<Vec<u8>>,
}

/// Length of the chain, the first entry that does not fit the one before it, and the hash at its end.
pub(super) async fn verify(tx: &mut Tx) -> sqlx::Result<Chain> {
    sqlx::query_as!(
        Chain,
        r#"SELECT count(*) AS "entries!", min(seq) FILTER (WHERE NOT fits) AS broken_at,
             (SELECT hash FROM audit_log ORDER BY seq DESC LIMIT 1) AS newest FROM (
             SELECT seq, seq = row_number() OVER (ORDER BY seq) AND hash = audit_hash(
                 coalesce(lag(hash) OVER (ORDER BY seq), ''::bytea), seq, at, actor, action, subject, detail) AS fits
             FROM audit_log) chain"#
    )
    .fetch_one(&mut **tx)
    .await
}
