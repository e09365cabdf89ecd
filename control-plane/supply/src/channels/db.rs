//! Statements about channels.

use noderr_protocol::NodeId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Who a channel is for.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) tier: String,
    pub(super) hardware: String,
}

/// A release as far as channels are concerned.
pub(super) struct Candidate {
    pub(super) id: Uuid,
    pub(super) security_epoch: i64,
    pub(super) hardware: Vec<String>,
    pub(super) tiers: Vec<String>,
    pub(super) withdrawn: bool,
    pub(super) removed: bool,
}

pub(super) async fn candidate(
    connection: &mut PgConnection,
    kind: &str,
    name: &str,
    version: &str,
) -> sqlx::Result<Option<Candidate>> {
    sqlx::query_as!(
        Candidate,
        r#"SELECT r.id, r.security_epoch, r.hardware, r.tiers, r.withdrawn_at IS NOT NULL AS "withdrawn!", a.removed_at IS NOT NULL AS "removed!"
           FROM releases r JOIN artefacts a USING (archive_sha256) WHERE r.kind = $1 AND r.name = $2 AND r.version = $3"#,
        kind,
        name,
        version
    )
    .fetch_optional(connection)
    .await
}

/// Gives a channel a release, or none; returns the channel's id, and whether anything has changed.
pub(super) async fn set(
    connection: &mut PgConnection,
    channel: &Channel,
    release: Option<Uuid>,
) -> sqlx::Result<(Uuid, bool)> {
    let row = sqlx::query!(
        "INSERT INTO channels (id, kind, name, tier, hardware) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (kind, name, tier, hardware) DO UPDATE SET changed_at = channels.changed_at
         RETURNING id, release_id",
        Uuid::now_v7(),
        channel.kind,
        channel.name,
        channel.tier,
        channel.hardware
    )
    .fetch_one(&mut *connection)
    .await?;
    if row.release_id == release {
        return Ok((row.id, false));
    }
    sqlx::query!("UPDATE channels SET release_id = $2, changed_at = now() WHERE id = $1", row.id, release)
        .execute(connection)
        .await?;
    Ok((row.id, true))
}

/// Ends what a channel had, and notes what it has now.
pub(super) async fn note(
    connection: &mut PgConnection,
    channel: Uuid,
    release: Option<Uuid>,
    by: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE deployments SET ended_at = now(), ended_by = $2 WHERE channel_id = $1 AND ended_at IS NULL",
        channel,
        by
    )
    .execute(&mut *connection)
    .await?;
    if let Some(release) = release {
        sqlx::query!(
            "INSERT INTO deployments (id, channel_id, release_id, activated_by) VALUES ($1, $2, $3, $4)",
            Uuid::now_v7(),
            channel,
            release,
            by
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The channels whose releases were withdrawn.
pub(super) async fn withdrawn(connection: &mut PgConnection) -> sqlx::Result<Vec<Channel>> {
    sqlx::query_as!(
        Channel,
        "SELECT c.kind, c.name, c.tier, c.hardware FROM channels c JOIN releases r ON r.id = c.release_id
         WHERE r.withdrawn_at IS NOT NULL"
    )
    .fetch_all(connection)
    .await
}

/// The nodes that a channel is for, as far as that is known.
pub(super) async fn nodes(connection: &mut PgConnection, channel: &Channel) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT n.id FROM nodes n LEFT JOIN heartbeats h ON h.node_id = n.id
         WHERE n.revoked_at IS NULL AND ($1 = 'all' OR n.tier::text = $1) AND ($2 = 'any' OR $2 = ANY(h.hardware))",
        channel.tier,
        channel.hardware
    )
    .fetch_all(connection)
    .await
}

/// What a node should hold: of each series the release of the channel that is most its own.
pub(super) async fn wanted(
    connection: &mut PgConnection,
    node: &NodeId,
) -> sqlx::Result<Vec<(String, String, String)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (c.kind, c.name) c.kind, c.name, r.version
         FROM nodes n LEFT JOIN heartbeats h ON h.node_id = n.id
         JOIN channels c ON (c.tier = 'all' OR c.tier = n.tier::text) AND (c.hardware = 'any' OR c.hardware = ANY(h.hardware))
         JOIN releases r ON r.id = c.release_id
         WHERE n.id = $1 AND r.withdrawn_at IS NULL
         ORDER BY c.kind, c.name, c.tier = 'all', c.hardware = 'any'",
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.name, row.version)).collect())
}

/// The tier of a node.
pub(super) async fn tier(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<String>> {
    let tier = sqlx::query_scalar!("SELECT tier::text FROM nodes WHERE id = $1", node.as_bytes().as_slice());
    Ok(tier.fetch_optional(connection).await?.flatten())
}

pub(super) struct ChannelRow {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) tier: String,
    pub(super) hardware: String,
    pub(super) version: Option<String>,
    pub(super) changed_at: OffsetDateTime,
}

pub(super) async fn list(
    connection: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<ChannelRow>> {
    sqlx::query_as!(
        ChannelRow,
        r#"SELECT c.id, c.kind, c.name, c.tier, c.hardware, r.version AS "version?", c.changed_at
           FROM channels c LEFT JOIN releases r ON r.id = c.release_id
           WHERE $1::uuid IS NULL OR c.id < $1 ORDER BY c.id DESC LIMIT $2"#,
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

pub(super) struct DeploymentRow {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) tier: String,
    pub(super) hardware: String,
    pub(super) version: String,
    pub(super) activated_at: OffsetDateTime,
    pub(super) activated_by: String,
    pub(super) ended_at: Option<OffsetDateTime>,
    pub(super) ended_by: Option<String>,
}

pub(super) async fn deployments(
    connection: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<DeploymentRow>> {
    sqlx::query_as!(
        DeploymentRow,
        "SELECT d.id, c.kind, c.name, c.tier, c.hardware, r.version, d.activated_at, d.activated_by, d.ended_at, d.ended_by
         FROM deployments d JOIN channels c ON c.id = d.channel_id JOIN releases r ON r.id = d.release_id
         WHERE $1::uuid IS NULL OR d.id < $1 ORDER BY d.id DESC LIMIT $2",
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// What a node has made of a release.
pub(super) struct NodeReleaseRow {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) runs: Option<String>,
    pub(super) state: ReleaseStateRow,
    pub(super) why: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) fetched_bytes: Option<i64>,
    pub(super) cost_bytes: Option<i64>,
    pub(super) reported_at: OffsetDateTime,
}

/// How far a node is with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "release_state", rename_all = "lowercase")]
pub(super) enum ReleaseStateRow {
    /// It cannot be had now, and is tried again.
    Waiting,
    /// It is being fetched.
    Fetching,
    /// It is on the disk, and was verified.
    Held,
    /// It is not taken.
    Refused,
}

pub(super) async fn of_node(
    connection: &mut PgConnection,
    node: &NodeId,
) -> sqlx::Result<Vec<NodeReleaseRow>> {
    sqlx::query_as!(
        NodeReleaseRow,
        r#"SELECT kind, name, version, runs, state AS "state: ReleaseStateRow", why, detail, fetched_bytes, cost_bytes, reported_at
           FROM node_releases WHERE node_id = $1 ORDER BY kind, name"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await
}

/// Notes what a node has made of a release; the same once more is written once an hour, so that it is known to be true still.
pub(super) async fn report(
    connection: &mut PgConnection,
    node: &NodeId,
    row: &NodeReleaseRow,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO node_releases (node_id, kind, name, version, runs, state, why, detail, fetched_bytes, cost_bytes)
         SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM admitted WHERE id = $1
         ON CONFLICT (node_id, kind, name) DO UPDATE SET version = $4, runs = $5, state = $6, why = $7, detail = $8,
           fetched_bytes = $9, cost_bytes = $10, reported_at = now()
         WHERE node_releases.reported_at < now() - interval '1 hour'
           OR (node_releases.version, node_releases.runs, node_releases.state, node_releases.why, node_releases.detail,
               node_releases.fetched_bytes, node_releases.cost_bytes) IS DISTINCT FROM ($4, $5, $6, $7, $8, $9, $10)",
        node.as_bytes().as_slice(),
        row.kind,
        row.name,
        row.version,
        row.runs,
        row.state as ReleaseStateRow,
        row.why,
        row.detail,
        row.fetched_bytes,
        row.cost_bytes
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what a node reported of other series than these.
pub(super) async fn forget_others(
    connection: &mut PgConnection,
    node: &NodeId,
    series: &[String],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM node_releases WHERE node_id = $1 AND kind || '/' || name <> ALL($2)",
        node.as_bytes().as_slice(),
        series
    )
    .execute(connection)
    .await?;
    Ok(())
}
