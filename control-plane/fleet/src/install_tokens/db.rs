//! Statements about install tokens.

use noderr_protocol::NodeId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) struct TokenRow {
    pub(super) id: Uuid,
    pub(super) created_by: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
    pub(super) used_at: Option<OffsetDateTime>,
    pub(super) withdrawn_at: Option<OffsetDateTime>,
}

/// Whether the node may enrol; `None` if the principal may not see the node.
pub(super) async fn node_may_enrol(
    connection: &mut PgConnection,
    node: &NodeId,
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"SELECT id IN (SELECT id FROM admitted) AS "may!" FROM nodes WHERE id = $1"#,
        node.as_bytes().as_slice()
    )
    .fetch_optional(connection)
    .await
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    node: &NodeId,
    hash: &[u8],
    created_by: &str,
    expires_at: OffsetDateTime,
) -> sqlx::Result<TokenRow> {
    sqlx::query_as!(
        TokenRow,
        "INSERT INTO install_tokens (id, node_id, hash, created_by, expires_at) VALUES ($1, $2, $3, $4, $5)
         RETURNING id, created_by, created_at, expires_at, used_at, withdrawn_at",
        Uuid::now_v7(),
        node.as_bytes().as_slice(),
        hash,
        created_by,
        expires_at
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn list(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, created_by, created_at, expires_at, used_at, withdrawn_at FROM install_tokens
         WHERE node_id = $1 ORDER BY id DESC LIMIT 100",
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await
}

/// A token that has not expired, with the binding of its node.
pub(crate) struct GoodToken {
    pub(crate) id: Uuid,
    pub(crate) node_id: Vec<u8>,
    /// Whether a box has enrolled with the token. Only that very box may do so again: the answer may have
    /// been lost.
    pub(crate) used: bool,
    pub(crate) ek_fingerprint: Option<Vec<u8>>,
    pub(crate) kind: Option<String>,
    /// Enrolments begun with the token within the last hour.
    pub(crate) attempts: i64,
}

/// Finds a token that has not expired and whose node may enrol.
pub(crate) async fn find_good(connection: &mut PgConnection, hash: &[u8]) -> sqlx::Result<Option<GoodToken>> {
    sqlx::query_as!(
        GoodToken,
        r#"SELECT t.id, t.node_id, t.used_at IS NOT NULL AS "used!", n.ek_fingerprint, n.kind::text,
             (SELECT count(*) FROM enrolments e WHERE e.token_id = t.id AND e.created_at > now() - interval '1 hour')
               AS "attempts!"
           FROM install_tokens t JOIN nodes n ON n.id = t.node_id
           WHERE t.hash = $1 AND t.expires_at > now() AND t.withdrawn_at IS NULL AND n.id IN (SELECT id FROM admitted)"#,
        hash
    )
    .fetch_optional(connection)
    .await
}

/// Uses a token up; `false` if the token has expired, its node may no longer enrol, or another box has used
/// the token.
pub(crate) async fn consume(connection: &mut PgConnection, id: Uuid, same_box: bool) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE install_tokens SET used_at = coalesce(used_at, now())
         WHERE id = $1 AND (used_at IS NULL OR $2) AND expires_at > now() AND withdrawn_at IS NULL AND node_id IN (SELECT id FROM admitted)",
        id,
        same_box
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Withdraws a token of a node; `false` if the principal can see no such token.
pub(super) async fn withdraw(connection: &mut PgConnection, node: &NodeId, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE install_tokens SET withdrawn_at = coalesce(withdrawn_at, now()) WHERE node_id = $1 AND id = $2",
        node.as_bytes().as_slice(),
        id
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
