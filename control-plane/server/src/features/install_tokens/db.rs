//! Statements about install tokens.

use crate::database::Tx;
use noderr_protocol::NodeId;
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) struct TokenRow {
    pub(super) id: Uuid,
    pub(super) created_by: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
    pub(super) used_at: Option<OffsetDateTime>,
}

/// Whether the node is visible, not revoked, and of an approved operator.
pub(super) async fn node_may_enrol(tx: &mut Tx, node: &NodeId) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"SELECT n.revoked_at IS NULL AND o.state = 'approved' AS "may!" FROM nodes n
           JOIN operators o ON o.id = n.operator_id WHERE n.id = $1"#,
        node.as_bytes().as_slice()
    )
    .fetch_optional(&mut **tx)
    .await
}

pub(super) async fn insert(
    tx: &mut Tx,
    node: &NodeId,
    hash: &[u8],
    created_by: &str,
    expires_at: OffsetDateTime,
) -> sqlx::Result<TokenRow> {
    sqlx::query_as!(
        TokenRow,
        "INSERT INTO install_tokens (id, node_id, hash, created_by, expires_at) VALUES ($1, $2, $3, $4, $5)
         RETURNING id, created_by, created_at, expires_at, used_at",
        Uuid::now_v7(),
        node.as_bytes().as_slice(),
        hash,
        created_by,
        expires_at
    )
    .fetch_one(&mut **tx)
    .await
}

pub(super) async fn list(tx: &mut Tx, node: &NodeId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT id, created_by, created_at, expires_at, used_at FROM install_tokens
         WHERE node_id = $1 ORDER BY id DESC LIMIT 100",
        node.as_bytes().as_slice()
    )
    .fetch_all(&mut **tx)
    .await
}

/// A token that may be used, and what the node it is for is bound to.
pub(crate) struct UsableToken {
    pub(crate) id: Uuid,
    pub(crate) node_id: Vec<u8>,
    pub(crate) ek_name: Option<Vec<u8>>,
    pub(crate) enrolled_with_tpm: bool,
}

/// Finds the node behind a token that is unused, unexpired, and whose node may enrol.
pub(crate) async fn find_usable(tx: &mut Tx, hash: &[u8]) -> sqlx::Result<Option<UsableToken>> {
    sqlx::query_as!(
        UsableToken,
        r#"SELECT t.id, t.node_id, n.ek_name, coalesce(n.kind = 'tpm', false) AS "enrolled_with_tpm!"
           FROM install_tokens t JOIN nodes n ON n.id = t.node_id JOIN operators o ON o.id = n.operator_id
           WHERE t.hash = $1 AND t.used_at IS NULL AND t.expires_at > now()
             AND n.revoked_at IS NULL AND o.state = 'approved'"#,
        hash
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Uses a token up; `false` if it was used, has expired, or its node may not enrol any more.
pub(crate) async fn consume(tx: &mut Tx, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE install_tokens t SET used_at = now() FROM nodes n JOIN operators o ON o.id = n.operator_id
         WHERE t.id = $1 AND t.used_at IS NULL AND t.expires_at > now() AND n.id = t.node_id
           AND n.revoked_at IS NULL AND o.state = 'approved'",
        id
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
