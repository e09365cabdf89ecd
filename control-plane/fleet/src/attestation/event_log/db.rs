//! Statements about event logs.

use noderr_protocol::{EventLogPart, NodeId};
use serde_json::Value;
use sqlx::PgConnection;

/// Begins a log of an attestation that found changed registers, or, once a minute, begins it anew if it was cut off; returns
/// whether it is whole.
pub(super) async fn begin(
    connection: &mut PgConnection,
    node: &NodeId,
    part: &EventLogPart,
) -> sqlx::Result<bool> {
    let whole = sqlx::query_scalar!(
        r#"INSERT INTO event_logs (challenge, node_id, parts, next_part, log)
           SELECT a.challenge, a.node_id, $3, 1, $4 FROM attestations a JOIN admitted n ON n.id = a.node_id
           WHERE a.challenge = $1 AND a.node_id = $2 AND a.verdict = 'changed'
             AND NOT EXISTS (SELECT FROM attestations b WHERE b.node_id = $2 AND b.verdict = 'changed' AND b.requested_at > a.requested_at)
           ON CONFLICT (challenge) DO UPDATE SET parts = excluded.parts, next_part = 1, log = excluded.log, shown_at = now()
             WHERE event_logs.next_part < event_logs.parts AND event_logs.shown_at < now() - interval '1 minute'
           RETURNING next_part = parts AS "whole!""#,
        part.challenge.as_slice(),
        node.as_bytes().as_slice(),
        i16::from(part.parts),
        &part.bytes[..]
    );
    Ok(whole.fetch_optional(connection).await?.unwrap_or(false))
}

/// Adds the next part; a part out of turn is left out. Returns whether the log is whole.
pub(super) async fn go_on(
    connection: &mut PgConnection,
    node: &NodeId,
    part: &EventLogPart,
) -> sqlx::Result<bool> {
    let whole = sqlx::query_scalar!(
        r#"UPDATE event_logs SET log = log || $5, next_part = next_part + 1
           WHERE challenge = $1 AND node_id = $2 AND next_part = $3 AND parts = $4 AND node_id IN (SELECT id FROM admitted)
           RETURNING next_part = parts AS "whole!""#,
        part.challenge.as_slice(),
        node.as_bytes().as_slice(),
        i16::from(part.part),
        i16::from(part.parts),
        &part.bytes[..]
    );
    Ok(whole.fetch_optional(connection).await?.unwrap_or(false))
}

/// A whole log, and the attestation that it was shown for; none for that of the enrolment.
pub(super) struct Log {
    pub(super) challenge: Option<Vec<u8>>,
    pub(super) bytes: Vec<u8>,
}

/// The logs that a node has shown, the newest first, and last that of its enrolment.
pub(super) async fn of_node(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<Log>> {
    sqlx::query_as!(
        Log,
        r#"SELECT challenge, bytes AS "bytes!" FROM (
             SELECT challenge, log AS bytes, shown_at FROM event_logs WHERE node_id = $1 AND next_part = parts
             UNION ALL
             SELECT NULL, event_log, '-infinity' FROM enrolments WHERE node_id = $1 AND event_log IS NOT NULL) logs
           ORDER BY shown_at DESC"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn baseline(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Value>> {
    let id = node.as_bytes().as_slice();
    let found = sqlx::query_scalar!("SELECT pcr_baseline FROM nodes WHERE id = $1", id);
    Ok(found.fetch_optional(connection).await?.flatten())
}

/// The registers that an attestation of a node has shown.
pub(super) async fn shown(
    connection: &mut PgConnection,
    node: &NodeId,
    challenge: &[u8; 16],
) -> sqlx::Result<Option<Value>> {
    let found = sqlx::query_scalar!(
        "SELECT pcrs FROM attestations WHERE challenge = $1 AND node_id = $2",
        challenge.as_slice(),
        node.as_bytes().as_slice()
    );
    Ok(found.fetch_optional(connection).await?.flatten())
}

/// Forgets the logs of a node that are not whole, but that of this challenge: a node has one under way.
pub(super) async fn forget_unfinished(
    connection: &mut PgConnection,
    node: &NodeId,
    challenge: &[u8; 16],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM event_logs WHERE node_id = $1 AND challenge <> $2 AND next_part < parts",
        node.as_bytes().as_slice(),
        challenge.as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets these logs.
pub(super) async fn forget(
    connection: &mut PgConnection,
    node: &NodeId,
    challenges: &[Vec<u8>],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM event_logs WHERE node_id = $1 AND challenge = ANY($2)",
        node.as_bytes().as_slice(),
        challenges
    )
    .execute(connection)
    .await?;
    Ok(())
}
