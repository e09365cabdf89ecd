//! Statements about enrolments and renewals, and about the bindings and certificates that they leave behind.

use noderr_ca::Issued;
use noderr_protocol::{IdentityKind, NodeId};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// An enrolment that has begun.
pub(super) struct Exchange {
    pub(super) node_id: Vec<u8>,
    pub(super) token_id: Option<Uuid>,
    pub(super) kind: String,
    pub(super) ek_fingerprint: Option<Vec<u8>>,
    pub(super) ek_certified: bool,
    pub(super) ak_public: Option<Vec<u8>>,
    pub(super) tls_public: Option<Vec<u8>>,
    pub(super) pcr_mask: i32,
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    session: &[u8],
    exchange: &Exchange,
    seconds: f64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO enrolments (session, purpose, node_id, token_id, kind, ek_fingerprint, ek_certified, ak_public,
           tls_public, pcr_mask, expires_at)
         VALUES ($1, 'enrol', $2, $3, $4::text::identity_kind, $5, $6, $7, $8, $9, now() + make_interval(secs => $10))",
        session,
        exchange.node_id,
        exchange.token_id,
        exchange.kind,
        exchange.ek_fingerprint,
        exchange.ek_certified,
        exchange.ak_public,
        exchange.tls_public,
        exchange.pcr_mask,
        seconds
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds a session that waits for its answer, without locking it.
pub(super) async fn look_at(connection: &mut PgConnection, session: &[u8]) -> sqlx::Result<Option<Exchange>> {
    sqlx::query_as!(
        Exchange,
        r#"SELECT node_id, token_id, kind::text AS "kind!", ek_fingerprint, ek_certified, ak_public, tls_public, pcr_mask
           FROM enrolments WHERE session = $1 AND purpose = 'enrol' AND finished_at IS NULL AND expires_at > now()"#,
        session
    )
    .fetch_optional(connection)
    .await
}

/// Whether a TPM is barred from the network.
pub(super) async fn is_barred(connection: &mut PgConnection, ek_fingerprint: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM barred_tpms WHERE ek_fingerprint = $1) AS "barred!""#,
        ek_fingerprint
    )
    .fetch_one(connection)
    .await
}

/// The other nodes that a TPM has stood behind, and that are revoked.
pub(super) async fn formerly(
    connection: &mut PgConnection,
    node: &NodeId,
    ek_fingerprint: Option<&[u8]>,
) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE ek_fingerprint = $2 AND id <> $1 ORDER BY revoked_at DESC LIMIT 10",
        node.as_bytes().as_slice(),
        ek_fingerprint
    )
    .fetch_all(connection)
    .await
}

/// Finds and locks a session for its one answer; `None` if the session is unknown, expired or answered
/// already.
pub(super) async fn take(connection: &mut PgConnection, session: &[u8]) -> sqlx::Result<Option<Exchange>> {
    sqlx::query_as!(
        Exchange,
        r#"SELECT node_id, token_id, kind::text AS "kind!", ek_fingerprint, ek_certified, ak_public, tls_public, pcr_mask
           FROM enrolments WHERE session = $1 AND purpose = 'enrol' AND finished_at IS NULL AND expires_at > now()
           FOR UPDATE"#,
        session
    )
    .fetch_optional(connection)
    .await
}

/// Ends a session, and keeps the box's event log.
pub(super) async fn finish(
    connection: &mut PgConnection,
    session: &[u8],
    outcome: &str,
    event_log: Option<&[u8]>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE enrolments SET finished_at = now(), outcome = $2, event_log = $3 WHERE session = $1",
        session,
        outcome,
        event_log
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a renewal on record, after the node has proven possession of its key; `false` if this session was
/// used already.
pub(super) async fn record_renewal(
    connection: &mut PgConnection,
    session: &[u8],
    node: &NodeId,
    kind: IdentityKind,
    mask: u32,
    outcome: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO enrolments (session, purpose, node_id, kind, pcr_mask, expires_at, finished_at, outcome)
         VALUES ($1, 'renew', $2, $3::text::identity_kind, $4, now(), now(), $5) ON CONFLICT DO NOTHING",
        session,
        node.as_bytes().as_slice(),
        kind.as_str(),
        mask.cast_signed(),
        outcome
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many renewals of a node are on record within the last `seconds`.
pub(super) async fn renewals_within(
    connection: &mut PgConnection,
    node: &NodeId,
    seconds: f64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM enrolments
           WHERE node_id = $1 AND purpose = 'renew' AND created_at > now() - make_interval(secs => $2)"#,
        node.as_bytes().as_slice(),
        seconds
    )
    .fetch_one(connection)
    .await
}

/// Binds a node to the keys it has proven.
pub(super) async fn bind(
    connection: &mut PgConnection,
    exchange: &Exchange,
    tls_key: &[u8],
    result_key: &[u8],
    same_box: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET enrolled_at = now(), kind = $2::text::identity_kind, ek_fingerprint = $3, ek_certified = $4,
           ak_public = $5, tls_key = $6, result_key = $8, pcr_baseline = CASE WHEN $7 THEN pcr_baseline END,
           bound_at = CASE WHEN $7 THEN coalesce(bound_at, now()) ELSE now() END WHERE id = $1",
        exchange.node_id,
        exchange.kind,
        exchange.ek_fingerprint,
        exchange.ek_certified,
        exchange.ak_public,
        tls_key,
        same_box,
        result_key
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes the key of results that a node has proven anew; `true` if the key is another than before.
pub(super) async fn note_result_key(
    connection: &mut PgConnection,
    node: &NodeId,
    result_key: &[u8],
) -> sqlx::Result<bool> {
    let changed = sqlx::query!(
        "UPDATE nodes SET result_key = $2 WHERE id = $1 AND result_key IS DISTINCT FROM $2",
        node.as_bytes().as_slice(),
        result_key
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// The keys that a node is bound to.
pub(super) struct Binding {
    pub(super) ek_fingerprint: Option<Vec<u8>>,
    pub(super) tls_key: Option<Vec<u8>>,
    pub(super) pcr_baseline: Option<Value>,
}

/// Locks a node until the end of the transaction, so that nothing about it changes between looking and acting.
pub(super) async fn lock_binding(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Binding> {
    sqlx::query_as!(
        Binding,
        "SELECT ek_fingerprint, tls_key, pcr_baseline FROM nodes WHERE id = $1 FOR NO KEY UPDATE",
        node.as_bytes().as_slice()
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn insert_certificate(
    connection: &mut PgConnection,
    node: &NodeId,
    issued: &Issued,
) -> sqlx::Result<()> {
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    sqlx::query!(
        "INSERT INTO node_certificates (serial, node_id, not_before, not_after) VALUES ($1, $2, $3, $4)",
        issued.serial.as_slice(),
        node.as_bytes().as_slice(),
        at(issued.not_before),
        at(issued.not_after)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The highest boot epoch ever heard of this node.
pub(super) async fn epoch_seen(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT greatest((SELECT max(epoch) FROM lanes WHERE node_id = $1),
                           (SELECT epoch FROM heartbeats WHERE node_id = $1), 0) AS "epoch!""#,
        node.as_bytes().as_slice()
    )
    .fetch_one(connection)
    .await
}

/// The record of an enrolled node that may connect.
pub(super) struct Known {
    pub(super) kind: String,
    pub(super) ak_public: Option<Vec<u8>>,
    pub(super) tls_key: Vec<u8>,
    pub(super) pcr_baseline: Option<Value>,
}

/// Finds the record of a node without locking it, because anybody may ask for this.
pub(super) async fn known(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        r#"SELECT kind::text AS "kind!", ak_public, tls_key AS "tls_key!", pcr_baseline FROM nodes
           WHERE id = $1 AND id IN (SELECT id FROM admitted) AND tls_key IS NOT NULL AND kind IS NOT NULL"#,
        node.as_bytes().as_slice()
    )
    .fetch_optional(connection)
    .await
}

/// Locks a node until the end of the transaction; `false` if the node may no longer connect with this key.
pub(super) async fn hold(connection: &mut PgConnection, node: &NodeId, tls_key: &[u8]) -> sqlx::Result<bool> {
    let held = sqlx::query!(
        "SELECT id FROM nodes WHERE id = $1 AND tls_key = $2 AND id IN (SELECT id FROM admitted) FOR NO KEY UPDATE",
        node.as_bytes().as_slice(),
        tls_key
    )
    .fetch_optional(connection)
    .await?;
    Ok(held.is_some())
}

/// Reads the kind column.
pub(super) fn kind_of(text: &str) -> IdentityKind {
    text.parse().expect("the column is an enum with just these values")
}

/// Forgets the event logs of a node's earlier enrolments: one log a node is kept, the newest.
pub(super) async fn forget_event_logs(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE enrolments SET event_log = NULL WHERE node_id = $1 AND event_log IS NOT NULL",
        node.as_bytes().as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}
