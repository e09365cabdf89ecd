//! The audit log: who did what, append-only, each entry bound to the one before it by a hash. Entries hold ids; names are
//! looked up when the log is read, so that forgetting a person does not break the chain.

use serde_json::Value;
use sqlx::PgConnection;

/// Writes an entry in the transaction of the act itself. `actor` names a principal, or the part of the
/// control plane that acts by itself.
pub async fn record(
    connection: &mut PgConnection,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query_scalar!("SELECT audit($1, $2, $3, $4)", actor, action, subject, detail)
        .fetch_one(connection)
        .await?;
    Ok(())
}
