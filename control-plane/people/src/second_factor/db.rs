//! Statements about second factors.

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

/// A second factor.
pub(super) struct Factor {
    pub(super) secret: Vec<u8>,
    pub(super) confirmed: bool,
    pub(super) step: i64,
    pub(super) failures: i32,
    pub(super) failed_at: OffsetDateTime,
}

/// Finds a second factor that counts, or waits for its first code. Locks the row until the end of the
/// transaction.
pub(super) async fn find(connection: &mut PgConnection, admin: Uuid) -> sqlx::Result<Option<Factor>> {
    sqlx::query_as!(
        Factor,
        "SELECT secret, confirmed, step, failures, failed_at FROM second_factors
         WHERE admin_id = $1 AND (confirmed OR begun_at > now() - interval '15 minutes') FOR UPDATE",
        admin
    )
    .fetch_optional(connection)
    .await
}

/// Notes a secret that waits for its first code; `false` if the account has a second factor already.
pub(super) async fn begin(connection: &mut PgConnection, admin: Uuid, secret: &[u8]) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO second_factors (admin_id, secret) VALUES ($1, $2)
         ON CONFLICT (admin_id) DO UPDATE SET secret = $2, begun_at = now(), failures = 0
           WHERE NOT second_factors.confirmed",
        admin,
        secret
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an administrator has a second factor that counts.
pub(super) async fn counts(pool: &PgPool, admin: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM second_factors WHERE admin_id = $1 AND confirmed) AS "on!""#,
        admin
    )
    .fetch_one(pool)
    .await
}

/// Notes that the code of a step was used; `false` if this step or a later one was used before.
pub(super) async fn used(connection: &mut PgConnection, admin: Uuid, step: i64) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE second_factors SET confirmed = true, step = $2, failures = 0 WHERE admin_id = $1 AND step < $2",
        admin,
        step
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn failed(
    connection: &mut PgConnection,
    admin: Uuid,
    at: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE second_factors SET failures = least(failures + 1, 1000), failed_at = $2 WHERE admin_id = $1",
        admin,
        at
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn remove(connection: &mut PgConnection, admin: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM second_factors WHERE admin_id = $1 AND confirmed", admin)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes the second factor of the administrator with this address; returns the administrator's id, if there
/// was one.
pub(super) async fn remove_of(connection: &mut PgConnection, email: &str) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "DELETE FROM second_factors f USING admins a WHERE a.id = f.admin_id AND a.email = $1 RETURNING a.id",
        email
    )
    .fetch_optional(connection)
    .await
}

/// Ends an administrator's sessions, except the session with this hash.
pub(super) async fn end_other_sessions(
    connection: &mut PgConnection,
    admin: Uuid,
    hash: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE admin_id = $1 AND hash <> $2", admin, hash)
        .execute(connection)
        .await?;
    Ok(())
}
