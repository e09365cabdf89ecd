//! Statements about attestations.

use super::terms::CHALLENGED;
use crate::registers::Expected;
use noderr_kernel::notify;
use noderr_protocol::NodeId;
use rand::RngCore as _;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

/// The outcome of one challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "verdict", rename_all = "lowercase")]
pub(super) enum Verdict {
    Trusted,
    Changed,
    Refused,
    Unavailable,
    /// The node did not answer in time.
    Silent,
    Software,
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Changed => "changed",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Silent => "silent",
            Self::Software => "software",
        }
    }
}

/// Puts a challenge to a node, or repeats the challenge that is open; `None` if the node is not enrolled, or
/// not admitted.
pub(super) async fn request(
    connection: &mut PgConnection,
    node: &NodeId,
    requested_by: &str,
    mask: u32,
) -> sqlx::Result<Option<Vec<u8>>> {
    let (mut challenge, mut nonce) = ([0; 16], [0; 32]);
    rand::rng().fill_bytes(&mut challenge);
    rand::rng().fill_bytes(&mut nonce);
    let done = sqlx::query_scalar!(
        "INSERT INTO attestations (challenge, node_id, requested_by, nonce, pcr_mask)
         SELECT $1, n.id, $3, $4, $5 FROM nodes n JOIN admitted USING (id) WHERE n.id = $2 AND n.kind IS NOT NULL
         ON CONFLICT (node_id) WHERE verdict IS NULL DO UPDATE SET node_id = excluded.node_id
         RETURNING attestations.challenge",
        challenge.as_slice(),
        node.as_bytes().as_slice(),
        requested_by,
        nonce.as_slice(),
        mask.cast_signed()
    )
    .fetch_optional(&mut *connection)
    .await?;
    if done.is_some() {
        notify(connection, &CHALLENGED, &node.to_string()).await?;
    }
    Ok(done)
}

/// A challenge that has not been answered.
pub(super) struct Unanswered {
    pub(super) challenge: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) pcr_mask: i32,
}

/// Finds a node's unanswered challenge and notes that it is being sent. The time for the answer runs from the
/// first sending: an answer that was prepared while the box was in order must not be kept for a worse day.
pub(super) async fn sent(pool: &PgPool, node: &NodeId, answer_s: f64) -> sqlx::Result<Option<Unanswered>> {
    sqlx::query_as!(
        Unanswered,
        "UPDATE attestations SET sent_at = coalesce(sent_at, now()) WHERE challenge = (
           SELECT challenge FROM attestations WHERE node_id = $1 AND verdict IS NULL)
           AND coalesce(sent_at, now()) > now() - make_interval(secs => $2)
         RETURNING challenge, nonce, pcr_mask",
        node.as_bytes().as_slice(),
        answer_s
    )
    .fetch_optional(pool)
    .await
}

/// Notes that a node was asked in the start that it is in.
pub(super) async fn asked(pool: &PgPool, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE heartbeats SET asked_epoch = epoch WHERE node_id = $1 AND asked_epoch IS DISTINCT FROM epoch",
        node.as_bytes().as_slice()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Those of these nodes that have a challenge which was not sent yet.
pub(super) async fn unsent(pool: &PgPool, nodes: &[Vec<u8>]) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT node_id FROM attestations WHERE node_id = ANY($1) AND verdict IS NULL AND sent_at IS NULL",
        nodes
    )
    .fetch_all(pool)
    .await
}

/// A challenge that waits for its answer, with the data that the answer is held against.
pub(super) struct OpenChallenge {
    pub(super) nonce: Vec<u8>,
    pub(super) pcr_mask: i32,
    pub(super) kind: String,
    pub(super) ak_public: Option<Vec<u8>>,
    pub(super) pcr_baseline: Option<Value>,
}

/// Finds and locks the challenge that an answer is for; `None` if the node has no such challenge, or the
/// answer is late.
pub(super) async fn take(
    connection: &mut PgConnection,
    node: &NodeId,
    challenge: &[u8; 16],
    answer_s: f64,
) -> sqlx::Result<Option<OpenChallenge>> {
    sqlx::query_as!(
        OpenChallenge,
        r#"SELECT a.nonce, a.pcr_mask, n.kind::text AS "kind!", n.ak_public, n.pcr_baseline
           FROM attestations a JOIN nodes n ON n.id = a.node_id JOIN admitted w ON w.id = n.id
           WHERE a.challenge = $1 AND a.node_id = $2 AND a.verdict IS NULL
             AND a.sent_at > now() - make_interval(secs => $3) AND n.kind IS NOT NULL FOR UPDATE OF a FOR NO KEY UPDATE OF n"#,
        challenge.as_slice(),
        node.as_bytes().as_slice(),
        answer_s
    )
    .fetch_optional(connection)
    .await
}

/// Values of registers that are expected of the whole fleet.
pub(super) async fn expected(connection: &mut PgConnection) -> sqlx::Result<Expected> {
    let rows = sqlx::query!("SELECT register, value FROM expected_registers").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.register.to_string(), row.value)).collect())
}

/// A verdict, and the registers that it is about.
pub(super) struct Judged {
    pub(super) verdict: String,
    pub(super) pcrs: Option<Value>,
}

/// The last verdict about the box that stands behind the node now.
pub(super) async fn last_verdict(
    connection: &mut PgConnection,
    node: &NodeId,
) -> sqlx::Result<Option<Judged>> {
    let verdict = sqlx::query_as!(
        Judged,
        r#"SELECT v.verdict::text AS "verdict!", a.pcrs FROM verdicts v JOIN attestations a USING (challenge)
           WHERE v.node_id = $1 ORDER BY v.requested_at DESC LIMIT 1"#,
        node.as_bytes().as_slice()
    );
    verdict.fetch_optional(connection).await
}

/// Puts registers on record that a node has shown without being challenged, at its enrolment or a renewal.
pub(super) async fn insert_shown(
    connection: &mut PgConnection,
    node: &NodeId,
    occasion: &str,
    mask: u32,
    (verdict, detail, pcrs): (Verdict, &str, &Value),
) -> sqlx::Result<()> {
    let mut challenge = [0; 16];
    rand::rng().fill_bytes(&mut challenge);
    sqlx::query!(
        "INSERT INTO attestations (challenge, node_id, requested_by, sent_at, nonce, pcr_mask, answered_at, verdict, detail, pcrs)
         VALUES ($1, $2, $3, now(), '', $4, now(), $5, $6, $7)",
        challenge.as_slice(),
        node.as_bytes().as_slice(),
        occasion,
        mask.cast_signed(),
        verdict as Verdict,
        detail,
        pcrs
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the value of a register that a node shows for the first time its baseline. No value that is there changes.
pub(super) async fn complete_baseline(
    connection: &mut PgConnection,
    node: &NodeId,
    pcrs: &Value,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET pcr_baseline = $2 || coalesce(pcr_baseline, '{}') WHERE id = $1
           AND pcr_baseline IS DISTINCT FROM $2 || coalesce(pcr_baseline, '{}')",
        node.as_bytes().as_slice(),
        pcrs
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn conclude(
    connection: &mut PgConnection,
    challenge: &[u8; 16],
    verdict: Verdict,
    detail: &str,
    pcrs: Option<&Value>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE attestations SET answered_at = now(), verdict = $2, detail = $3, pcrs = $4 WHERE challenge = $1",
        challenge.as_slice(),
        verdict as Verdict,
        detail,
        pcrs
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) struct AttestationRow {
    pub(super) challenge: Vec<u8>,
    pub(super) requested_by: String,
    pub(super) requested_at: OffsetDateTime,
    pub(super) answered_at: Option<OffsetDateTime>,
    pub(super) verdict: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) pcrs: Option<Value>,
}

pub(super) async fn list(
    connection: &mut PgConnection,
    node: &NodeId,
    after: Option<OffsetDateTime>,
    limit: i64,
) -> sqlx::Result<Vec<AttestationRow>> {
    sqlx::query_as!(
        AttestationRow,
        "SELECT challenge, requested_by, requested_at, answered_at, verdict::text, detail, pcrs FROM attestations
         WHERE node_id = $1 AND ($2::timestamptz IS NULL OR requested_at < $2) ORDER BY requested_at DESC LIMIT $3",
        node.as_bytes().as_slice(),
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// Makes the registers of one checked quote the baseline; `None` if the quote is not of this node.
pub(super) async fn accept_baseline(
    connection: &mut PgConnection,
    node: &NodeId,
    challenge: &[u8],
) -> sqlx::Result<Option<Value>> {
    sqlx::query_scalar!(
        "UPDATE nodes SET pcr_baseline = a.pcrs FROM attestations a
         WHERE nodes.id = $1 AND a.node_id = $1 AND a.challenge = $2 AND a.verdict IN ('trusted', 'changed')
         RETURNING nodes.pcr_baseline",
        node.as_bytes().as_slice(),
        challenge
    )
    .fetch_optional(connection)
    .await
    .map(Option::flatten)
}

/// Connected nodes (online, or storing records today without a sign of life) whose last challenge is older than `every_s`.
/// Where the last was not answered, or the TPM was unavailable, the node is asked again soon, and more and more seldom while
/// that goes on. A node that was started since it was last asked is asked at once, twice a minute at most.
pub(super) async fn due(pool: &PgPool, every_s: f64, first_pause_s: f64) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT n.id FROM nodes n JOIN admitted USING (id)
         WHERE n.kind IS NOT NULL AND (EXISTS (SELECT FROM heartbeats h WHERE h.node_id = n.id AND h.online)
             OR EXISTS (SELECT FROM lanes l WHERE l.node_id = n.id AND l.day = (now() AT TIME ZONE 'UTC')::date))
           AND (EXISTS (
             SELECT FROM heartbeats h WHERE h.node_id = n.id AND h.online AND h.epoch IS DISTINCT FROM h.asked_epoch
               AND NOT EXISTS (SELECT FROM attestations a WHERE a.node_id = n.id AND a.requested_by NOT IN ('enrolment', 'renewal')
                 AND (a.verdict IS NULL OR a.requested_at > now() - interval '30 seconds'))
               -- A box that starts over and over is asked as any other after a while.
               AND (SELECT count(*) FROM attestations a WHERE a.node_id = n.id AND a.requested_by = 'schedule'
                 AND a.requested_at > now() - interval '1 hour') < 10)
           OR NOT EXISTS (
           SELECT FROM (SELECT requested_at, sent_at, verdict FROM attestations WHERE node_id = n.id
                        AND requested_by NOT IN ('enrolment', 'renewal') ORDER BY requested_at DESC LIMIT 1) newest
           WHERE sent_at IS NOT NULL AND verdict IS NULL
             OR requested_at > now() - make_interval(secs => CASE WHEN verdict IN ('silent', 'unavailable')
                  THEN least($1::float8, $2::float8 * 2.0::float8 ^ (SELECT count(*) FROM (
                    SELECT FROM attestations f WHERE f.node_id = n.id AND f.verdict IN ('silent', 'unavailable') AND f.requested_at >
                      coalesce((SELECT max(g.requested_at) FROM attestations g WHERE g.node_id = n.id
                                AND g.verdict NOT IN ('silent', 'unavailable')), '-infinity') LIMIT 20) failed))
                  ELSE $1::float8 END)))
         LIMIT 1000",
        every_s,
        first_pause_s
    )
    .fetch_all(pool)
    .await
}

/// Nodes in quarantine because their registers have changed, as many as one act may ask.
pub(super) async fn changed(connection: &mut PgConnection) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE quarantine = 'registers-changed' AND revoked_at IS NULL ORDER BY id LIMIT 10000"
    )
    .fetch_all(connection)
    .await
}

/// Concludes the challenges whose time is over as silent; returns each node with the verdict that it had
/// before.
pub(super) async fn conclude_silent(
    connection: &mut PgConnection,
    answer_s: f64,
) -> sqlx::Result<Vec<(Vec<u8>, Option<String>)>> {
    let rows = sqlx::query!(
        r#"UPDATE attestations a SET verdict = 'silent', detail = 'the node was asked and did not answer in time'
           WHERE verdict IS NULL AND sent_at < now() - make_interval(secs => $1)
           RETURNING node_id, (SELECT v.verdict::text FROM verdicts v WHERE v.node_id = a.node_id
             ORDER BY v.requested_at DESC LIMIT 1) AS before"#,
        answer_s
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.node_id, row.before)).collect())
}
