//! Statements about nodes.

use super::outcome::{Outcome, SectionOutcome};
use crate::values::node_id;
use noderr_protocol::NodeId;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A node as lists and details show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Node {
    /// 64 lowercase hex digits.
    #[schema(value_type = String)]
    pub(crate) id: NodeId,
    pub(crate) operator: Uuid,
    pub(crate) label: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) enrolled_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) revoked_at: Option<OffsetDateTime>,
    pub(crate) revoked_reason: Option<String>,
    /// `tpm` or `software`, decided from evidence at enrolment.
    pub(crate) identity: Option<String>,
    /// Whether a vendor's certificate vouches for the node's TPM.
    pub(crate) tpm_certified: bool,
    pub(crate) online: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) last_seen_at: Option<OffsetDateTime>,
    pub(crate) software: Option<String>,
    pub(crate) architecture: Option<String>,
    /// The newest wire version that the node reads.
    pub(crate) speaks: Option<i16>,
    /// Health checks that failed at the last heartbeat.
    pub(crate) failing: Vec<String>,
    /// Records that waited in the node's spool at the last heartbeat.
    pub(crate) backlog: i64,
    /// Records that the node has lost to its budget or to damage.
    pub(crate) lost: i64,
    pub(crate) desired_version: i64,
    /// The version of the desired state that the node last reported on.
    pub(crate) actual_version: i64,
    /// What has become of the newest desired state as a whole.
    pub(crate) outcome: Outcome,
    /// What has become of each section of the version that the node last reported on.
    pub(crate) sections: Vec<SectionOutcome>,
    pub(crate) paused: bool,
    pub(crate) sample_every_s: i32,
    /// The tier that the node is in: `oracle`, `guardian`, `validator`, or none.
    pub(crate) tier: Option<String>,
    /// Outcome of the last attestation: `trusted`, `changed`, `refused`, `unavailable`, `silent`, `software`.
    /// It is of the box that stands behind the node now.
    pub(crate) attestation: Option<String>,
    /// Why the node is kept out of work, if it is: `registers-changed`, `attestation-refused`, `not-attested`,
    /// `software-not-allowed`, `ek-certificate-required`, `ek-not-listed` or `tpm-barred`.
    pub(crate) quarantine: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) quarantined_at: Option<OffsetDateTime>,
    /// Records that were refused today (UTC), because the node had used up what it may store in a day.
    pub(crate) refused_today: i64,
}

pub(crate) struct NodeRow {
    id: Vec<u8>,
    operator: Uuid,
    label: String,
    created_at: OffsetDateTime,
    enrolled_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
    revoked_reason: Option<String>,
    identity: Option<String>,
    tpm_certified: bool,
    online: bool,
    last_seen_at: Option<OffsetDateTime>,
    software: Option<String>,
    architecture: Option<String>,
    speaks: Option<i16>,
    failing: Vec<String>,
    backlog: i64,
    lost: i64,
    desired_version: i64,
    actual_version: i64,
    sections: Json<Vec<SectionOutcome>>,
    paused: bool,
    sample_every_s: i32,
    tier: Option<String>,
    attestation: Option<String>,
    quarantine: Option<String>,
    quarantined_at: Option<OffsetDateTime>,
    refused_today: i64,
}

impl From<NodeRow> for Node {
    fn from(row: NodeRow) -> Self {
        Self {
            id: node_id(&row.id),
            operator: row.operator,
            label: row.label,
            created_at: row.created_at,
            enrolled_at: row.enrolled_at,
            revoked_at: row.revoked_at,
            revoked_reason: row.revoked_reason,
            identity: row.identity,
            tpm_certified: row.tpm_certified,
            online: row.online,
            last_seen_at: row.last_seen_at,
            software: row.software,
            architecture: row.architecture,
            speaks: row.speaks,
            failing: row.failing,
            backlog: row.backlog,
            lost: row.lost,
            desired_version: row.desired_version,
            actual_version: row.actual_version,
            outcome: Outcome::of(row.desired_version != row.actual_version, &row.sections),
            sections: row.sections.0,
            paused: row.paused,
            sample_every_s: row.sample_every_s,
            tier: row.tier,
            attestation: row.attestation,
            quarantine: row.quarantine,
            quarantined_at: row.quarantined_at,
            refused_today: row.refused_today,
        }
    }
}

/// The filter and the page of a list.
#[derive(Debug, Default)]
pub(super) struct NodeFilter {
    pub(super) operator: Option<Uuid>,
    pub(super) online: Option<bool>,
    pub(super) identity: Option<String>,
    pub(super) revoked: Option<bool>,
    pub(super) after: Option<(OffsetDateTime, Vec<u8>)>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) limit: i64,
}

pub(super) async fn list(connection: &mut PgConnection, filter: NodeFilter) -> sqlx::Result<Vec<NodeRow>> {
    let (after_at, after_id) = filter.after.unzip();
    sqlx::query_as!(
        NodeRow,
        r#"SELECT n.id, n.operator_id AS operator, n.label, n.created_at, n.enrolled_at, n.revoked_at, n.revoked_reason,
             n.kind::text AS identity, n.ek_certified AS tpm_certified, coalesce(h.online, false) AS "online!",
             h.last_seen_at AS "last_seen_at?", h.software, h.architecture, h.speaks AS "speaks?",
             coalesce(h.failing, '{}') AS "failing!", coalesce(h.backlog, 0) AS "backlog!", coalesce(h.lost, 0) AS "lost!",
             n.desired_version, n.actual_version, n.actual_sections AS "sections: Json<Vec<SectionOutcome>>", n.desired_paused AS paused,
             n.desired_sample_every_s AS sample_every_s, n.tier::text AS tier,
             (SELECT v.verdict::text FROM verdicts v WHERE v.node_id = n.id ORDER BY v.requested_at DESC LIMIT 1) AS attestation,
             n.quarantine, n.quarantined_at,
             (SELECT coalesce(sum(l.refused_today), 0)::bigint FROM lanes l WHERE l.node_id = n.id
                AND l.day = (now() AT TIME ZONE 'UTC')::date) AS "refused_today!"
           FROM nodes n LEFT JOIN heartbeats h ON h.node_id = n.id
           WHERE ($1::uuid IS NULL OR n.operator_id = $1)
             AND ($2::boolean IS NULL OR coalesce(h.online, false) = $2)
             AND ($3::text IS NULL OR n.kind::text = $3)
             AND ($4::boolean IS NULL OR (n.revoked_at IS NOT NULL) = $4)
             AND ($5::timestamptz IS NULL OR (n.created_at, n.id) < ($5, $6::bytea))
             AND ($7::bytea IS NULL OR n.id = $7)
           ORDER BY n.created_at DESC, n.id DESC LIMIT $8"#,
        filter.operator,
        filter.online,
        filter.identity,
        filter.revoked,
        after_at,
        after_id,
        filter.id,
        filter.limit + 1
    )
    .fetch_all(&mut *connection)
    .await
}

/// Whether whoever this connection is for may see a node.
pub async fn is_seen(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<bool> {
    Ok(find(connection, node).await?.is_some())
}

/// Finds a node, if the principal may see it.
pub(crate) async fn find(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Node>> {
    let filter = NodeFilter { id: Some(node.as_bytes().to_vec()), limit: 1, ..NodeFilter::default() };
    Ok(list(connection, filter).await?.into_iter().next().map(Node::from))
}

/// Adds a node to an approved operator; `false` if the operator is not approved, or the principal may not see
/// the operator.
pub(super) async fn insert(
    connection: &mut PgConnection,
    node: &NodeId,
    operator: Uuid,
    label: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO nodes (id, operator_id, label)
         SELECT $1, o.id, $3 FROM operators o WHERE o.id = $2 AND o.state = 'approved'",
        node.as_bytes().as_slice(),
        operator,
        label
    )
    .execute(&mut *connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Unbinds a node from its TPM, so that another box may enrol under its id, whatever boot epoch the old box
/// claimed last.
pub(super) async fn unbind(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<bool> {
    let id = node.as_bytes().as_slice();
    // The rows are locked in the order in which a hello locks them. Honest epochs stay: the next epoch must
    // be above them.
    sqlx::query!(
        "UPDATE heartbeats SET epoch = least(epoch, extract(epoch FROM now())::bigint) WHERE node_id = $1",
        id
    )
    .execute(&mut *connection)
    .await?;
    let done = sqlx::query!(
        "UPDATE nodes SET ek_fingerprint = NULL, ek_certified = false, ak_public = NULL, tls_key = NULL, result_key = NULL, kind = NULL,
           pcr_baseline = NULL, bound_at = NULL, enrolled_at = NULL, quarantine = NULL, quarantined_at = NULL WHERE id = $1",
        id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE lanes SET epoch = least(epoch, extract(epoch FROM now())::bigint) WHERE node_id = $1",
        id
    )
    .execute(&mut *connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Bars the TPM behind a node; returns its fingerprint, or `None` if no TPM stands behind the node.
pub(super) async fn bar_tpm(
    connection: &mut PgConnection,
    node: &NodeId,
    reason: &str,
    by: &str,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "INSERT INTO barred_tpms (ek_fingerprint, reason, node_id, barred_by)
         SELECT ek_fingerprint, $2, id, $3 FROM nodes WHERE id = $1 AND ek_fingerprint IS NOT NULL
         ON CONFLICT (ek_fingerprint) DO UPDATE SET reason = excluded.reason RETURNING ek_fingerprint",
        node.as_bytes().as_slice(),
        reason,
        by
    )
    .fetch_optional(connection)
    .await
}

/// Withdraws the open install tokens of a node.
pub(super) async fn withdraw_tokens(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE install_tokens SET withdrawn_at = now() WHERE node_id = $1 AND withdrawn_at IS NULL AND expires_at > now()",
        node.as_bytes().as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}
