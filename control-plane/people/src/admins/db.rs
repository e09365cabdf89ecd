//! Statements about administrators.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// How many tokens of an administrator still count.
pub(super) async fn tokens(connection: &mut PgConnection, admin: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM api_tokens WHERE owner_id = $1 AND revoked_at IS NULL AND expires_at > now()"#,
        admin
    )
    .fetch_one(connection)
    .await
}

/// An administrator.
pub(crate) struct Admin {
    pub(crate) id: Uuid,
    pub(crate) password_hash: String,
}

pub(super) async fn find(pool: &PgPool, email: &str) -> sqlx::Result<Option<Admin>> {
    sqlx::query_as!(Admin, "SELECT id, password_hash FROM admins WHERE email = $1", email)
        .fetch_optional(pool)
        .await
}

/// Adds an administrator or changes one. Without `roles` a new administrator is an owner, and a known one
/// keeps the old roles.
pub(super) async fn set(
    connection: &mut PgConnection,
    email: &str,
    password_hash: &str,
    roles: &[String],
) -> sqlx::Result<Uuid> {
    let id = sqlx::query_scalar!(
        "INSERT INTO admins (id, email, password_hash, roles)
         VALUES ($1, $2, $3, CASE WHEN cardinality($4::text[]) > 0 THEN $4 ELSE '{owner}' END)
         ON CONFLICT (email) DO UPDATE SET password_hash = $3,
           roles = CASE WHEN cardinality($4::text[]) > 0 THEN $4 ELSE admins.roles END
         RETURNING id",
        Uuid::now_v7(),
        email,
        password_hash,
        roles
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("DELETE FROM sessions WHERE admin_id = $1", id).execute(connection).await?;
    Ok(id)
}

pub(super) async fn set_roles(
    connection: &mut PgConnection,
    email: &str,
    roles: &[String],
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!("UPDATE admins SET roles = $2 WHERE email = $1 RETURNING id", email, roles)
        .fetch_optional(connection)
        .await
}

/// Locks what a login locks, in its order, so that neither waits for the other for ever.
pub(super) async fn remove(connection: &mut PgConnection, email: &str) -> sqlx::Result<Option<Uuid>> {
    sqlx::query!(
        "SELECT f.admin_id FROM second_factors f JOIN admins a ON a.id = f.admin_id WHERE a.email = $1 FOR UPDATE OF f",
        email
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query_scalar!("DELETE FROM admins WHERE email = $1 RETURNING id", email)
        .fetch_optional(connection)
        .await
}

pub(super) async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, Vec<String>)>> {
    let rows = sqlx::query!("SELECT email, roles FROM admins ORDER BY email").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.email, row.roles)).collect())
}

/// Waits until no other command changes administrators, and keeps others waiting until the transaction ends.
pub(super) async fn wait_for_others(connection: &mut PgConnection) -> sqlx::Result<()> {
    // Beside the numbers in 0001_foundation.sql.
    sqlx::query("SELECT pg_advisory_xact_lock(7061756469740004)").execute(connection).await?;
    Ok(())
}

pub(super) async fn owners(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "owners!" FROM admins WHERE 'owner' = ANY(roles)"#)
        .fetch_one(connection)
        .await
}
