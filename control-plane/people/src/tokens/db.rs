//! Statements about API tokens.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) struct TokenRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) permissions: Vec<String>,
    pub(super) operator_id: Option<Uuid>,
    pub(super) owner_id: Uuid,
    pub(super) created_by: String,
    pub(super) parent: Option<Uuid>,
    pub(super) created_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
    pub(super) revoked_at: Option<OffsetDateTime>,
}

pub(super) async fn insert(connection: &mut PgConnection, token: &TokenRow, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO api_tokens (id, hash, name, permissions, operator_id, owner_id, created_by, parent, created_at,
           expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        token.id,
        hash,
        token.name,
        &token.permissions,
        token.operator_id,
        token.owner_id,
        token.created_by,
        token.parent,
        token.created_at,
        token.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn list(
    connection: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, name, permissions, operator_id, owner_id, created_by, parent, created_at, expires_at, revoked_at
         FROM api_tokens WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, name, permissions, operator_id, owner_id, created_by, parent, created_at, expires_at, revoked_at
         FROM api_tokens WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await
}

/// Keeps a token from being revoked until the end of the transaction; `false` if it is revoked already.
pub(super) async fn hold(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let held = sqlx::query!("SELECT id FROM api_tokens WHERE id = $1 AND revoked_at IS NULL FOR SHARE", id)
        .fetch_optional(connection)
        .await?;
    Ok(held.is_some())
}

/// Revokes a token and all tokens that were issued with it. The token is locked first: tokens that are being
/// issued with it are waited for, and seen by the statement that follows.
pub(super) async fn revoke(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    loop {
        sqlx::query!("SELECT id FROM api_tokens WHERE id = $1 FOR UPDATE", id)
            .fetch_optional(&mut *connection)
            .await?;
        let revoked = sqlx::query!(
            "WITH RECURSIVE family AS (
               SELECT $1::uuid AS id UNION SELECT t.id FROM api_tokens t JOIN family f ON t.parent = f.id)
             UPDATE api_tokens SET revoked_at = now() WHERE revoked_at IS NULL AND id IN (SELECT id FROM family)",
            id
        )
        .execute(&mut *connection)
        .await?;
        // Tokens that were revoked just now may have issued further tokens in the meantime.
        if revoked.rows_affected() == 0 {
            return Ok(());
        }
    }
}

/// Whether a token is `ancestor` itself, or was issued with it or with one that was.
pub(super) async fn is_of(connection: &mut PgConnection, id: Uuid, ancestor: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"WITH RECURSIVE line AS (
             SELECT id, parent FROM api_tokens WHERE id = $1
             UNION SELECT t.id, t.parent FROM api_tokens t JOIN line ON t.id = line.parent)
           SELECT EXISTS (SELECT FROM line WHERE id = $2) AS "is!""#,
        id,
        ancestor
    )
    .fetch_one(connection)
    .await
}
