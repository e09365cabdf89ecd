//! Statements about sessions.

use crate::admins::Admin;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Begins a session; `false` if the password that was checked has been replaced meanwhile.
pub(super) async fn insert(
    connection: &mut PgConnection,
    hash: &[u8],
    admin: &Admin,
    expires_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO sessions (hash, admin_id, expires_at)
         SELECT $1, id, $3 FROM admins WHERE id = $2 AND password_hash = $4 FOR SHARE",
        hash,
        admin.id,
        expires_at,
        admin.password_hash
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes a fresh proof at a session; `false` if the session has ended or the password was replaced meanwhile.
pub(super) async fn prove(connection: &mut PgConnection, hash: &[u8], admin: &Admin) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE sessions s SET proven_at = now() FROM admins a
         WHERE s.hash = $1 AND a.id = s.admin_id AND a.id = $2 AND a.password_hash = $3",
        hash,
        admin.id,
        admin.password_hash
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(connection: &mut PgConnection, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE hash = $1", hash).execute(connection).await?;
    Ok(())
}
