//! Statements about admins, sessions and API tokens.

use super::hash_secret;
use crate::app::App;
use crate::database::{Scope, Tx};
use crate::http::{AskingSession, AskingToken, Credential, Permission, Principal};
use std::collections::BTreeSet;
use time::OffsetDateTime;
use uuid::Uuid;

/// Whom a bearer token stands for.
pub(crate) async fn principal_of(app: &App, token: &str) -> sqlx::Result<Option<Principal>> {
    let hash = hash_secret(token);
    let session = sqlx::query!(
        "SELECT a.id, a.email FROM sessions s JOIN admins a ON a.id = s.admin_id WHERE s.hash = $1 AND s.expires_at > now()",
        hash
    )
    .fetch_optional(app.database.system())
    .await?;
    if let Some(session) = session {
        let permissions = Permission::ALL.into_iter().collect();
        return Ok(Some(Principal {
            actor: session.email,
            scope: Scope::Staff,
            permissions,
            with: Credential::Session(AskingSession { admin: session.id, hash }),
        }));
    }
    let token = sqlx::query!(
        "SELECT id, name, permissions, operator_id, expires_at FROM api_tokens t
         WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
           AND NOT EXISTS (SELECT FROM operators o WHERE o.id = t.operator_id AND o.state = 'suspended')",
        hash
    )
    .fetch_optional(app.database.system())
    .await?;
    Ok(token.map(|token| Principal {
        // Names are anybody's to choose; the id is not.
        actor: format!("token {} ({})", token.name, token.id),
        with: Credential::Token(AskingToken { id: token.id, expires_at: token.expires_at }),
        scope: token.operator_id.map_or(Scope::Staff, Scope::Operator),
        permissions: token.permissions.iter().filter_map(|name| name.parse().ok()).collect::<BTreeSet<_>>(),
    }))
}

/// An administrator.
pub(super) struct Admin {
    pub(super) id: Uuid,
    pub(super) password_hash: String,
}

pub(super) async fn admin(app: &App, email: &str) -> sqlx::Result<Option<Admin>> {
    sqlx::query_as!(Admin, "SELECT id, password_hash FROM admins WHERE email = $1", email)
        .fetch_optional(app.database.system())
        .await
}

/// Begins a session; `false` if the password that was checked has been replaced meanwhile.
pub(super) async fn insert_session(
    tx: &mut Tx,
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
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete_session(app: &App, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE hash = $1", hash).execute(app.database.system()).await?;
    Ok(())
}

pub(super) async fn end_other_sessions(tx: &mut Tx, admin: Uuid, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE admin_id = $1 AND hash <> $2", admin, hash)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A second factor.
pub(super) struct Factor {
    pub(super) secret: Vec<u8>,
    pub(super) confirmed: bool,
    pub(super) step: i64,
    pub(super) failures: i32,
    pub(super) failed_at: OffsetDateTime,
}

/// One that counts, or waits for its first code. Holds it until the end of the transaction.
pub(super) async fn factor(tx: &mut Tx, admin: Uuid) -> sqlx::Result<Option<Factor>> {
    sqlx::query_as!(
        Factor,
        "SELECT secret, confirmed, step, failures, failed_at FROM second_factors
         WHERE admin_id = $1 AND (confirmed OR begun_at > now() - interval '15 minutes') FOR UPDATE",
        admin
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Notes a secret that waits for its first code; `false` if one counts already.
pub(super) async fn begin_factor(tx: &mut Tx, admin: Uuid, secret: &[u8]) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO second_factors (admin_id, secret) VALUES ($1, $2)
         ON CONFLICT (admin_id) DO UPDATE SET secret = $2, begun_at = now(), failures = 0
           WHERE NOT second_factors.confirmed",
        admin,
        secret
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether one counts.
pub(super) async fn has_factor(app: &App, admin: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM second_factors WHERE admin_id = $1 AND confirmed) AS "on!""#,
        admin
    )
    .fetch_one(app.database.system())
    .await
}

/// Notes that the code of a step was taken; `false` if it or a later one was before.
pub(super) async fn factor_used(tx: &mut Tx, admin: Uuid, step: i64) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE second_factors SET confirmed = true, step = $2, failures = 0 WHERE admin_id = $1 AND step < $2",
        admin,
        step
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn factor_failed(tx: &mut Tx, admin: Uuid, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE second_factors SET failures = least(failures + 1, 1000), failed_at = $2 WHERE admin_id = $1",
        admin,
        at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn remove_factor(tx: &mut Tx, admin: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM second_factors WHERE admin_id = $1 AND confirmed", admin)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets an administrator's second factor and ends their sessions; `false` if there is no such factor.
pub(crate) async fn reset_second_factor(tx: &mut Tx, email: &str) -> sqlx::Result<bool> {
    let admin = sqlx::query_scalar!(
        "DELETE FROM second_factors f USING admins a WHERE a.id = f.admin_id AND a.email = $1 RETURNING a.id",
        email
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(admin) = admin else { return Ok(false) };
    sqlx::query!("DELETE FROM sessions WHERE admin_id = $1", admin).execute(&mut **tx).await?;
    Ok(true)
}

/// Adds an administrator or sets a new password; a new password ends the sessions of the old one.
pub(crate) async fn set_admin(tx: &mut Tx, email: &str, password_hash: &str) -> sqlx::Result<()> {
    let id = sqlx::query_scalar!(
        "INSERT INTO admins (id, email, password_hash) VALUES ($1, $2, $3)
         ON CONFLICT (email) DO UPDATE SET password_hash = $3 RETURNING id",
        Uuid::now_v7(),
        email,
        password_hash
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM sessions WHERE admin_id = $1", id).execute(&mut **tx).await?;
    Ok(())
}

/// Removes an administrator and their sessions; `false` if there is none.
pub(crate) async fn remove_admin(tx: &mut Tx, email: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM admins WHERE email = $1", email).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// Addresses of all administrators.
pub(crate) async fn list_admins(tx: &mut Tx) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("SELECT email FROM admins ORDER BY email").fetch_all(&mut **tx).await
}

pub(super) struct TokenRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) permissions: Vec<String>,
    pub(super) operator_id: Option<Uuid>,
    pub(super) created_by: String,
    pub(super) parent: Option<Uuid>,
    pub(super) created_at: OffsetDateTime,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) revoked_at: Option<OffsetDateTime>,
}

pub(super) async fn insert_token(tx: &mut Tx, token: &TokenRow, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO api_tokens (id, hash, name, permissions, operator_id, created_by, parent, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        token.id,
        hash,
        token.name,
        &token.permissions,
        token.operator_id,
        token.created_by,
        token.parent,
        token.created_at,
        token.expires_at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn list_tokens(tx: &mut Tx, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, name, permissions, operator_id, created_by, parent, created_at, expires_at, revoked_at
         FROM api_tokens WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        after,
        limit + 1
    )
    .fetch_all(&mut **tx)
    .await
}

pub(super) async fn find_token(tx: &mut Tx, id: Uuid) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, name, permissions, operator_id, created_by, parent, created_at, expires_at, revoked_at
         FROM api_tokens WHERE id = $1",
        id
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Keeps a token from being revoked until the end of the transaction; `false` if it is revoked already.
pub(super) async fn hold_token(tx: &mut Tx, id: Uuid) -> sqlx::Result<bool> {
    let held = sqlx::query!("SELECT id FROM api_tokens WHERE id = $1 AND revoked_at IS NULL FOR SHARE", id)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(held.is_some())
}

/// Revokes a token and all that were issued with it. Locked first: what is being issued with it is waited for, and
/// seen by the statement that follows; a token that was not revoked yet can issue nothing more behind our back.
pub(super) async fn revoke_token(tx: &mut Tx, id: Uuid) -> sqlx::Result<()> {
    loop {
        sqlx::query!("SELECT id FROM api_tokens WHERE id = $1 FOR UPDATE", id)
            .fetch_optional(&mut **tx)
            .await?;
        let revoked = sqlx::query!(
            "WITH RECURSIVE family AS (
               SELECT $1::uuid AS id UNION SELECT t.id FROM api_tokens t JOIN family f ON t.parent = f.id)
             UPDATE api_tokens SET revoked_at = now() WHERE revoked_at IS NULL AND id IN (SELECT id FROM family)",
            id
        )
        .execute(&mut **tx)
        .await?;
        // Those that were revoked just now may have issued others in the meantime.
        if revoked.rows_affected() == 0 {
            return Ok(());
        }
    }
}
