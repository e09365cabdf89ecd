//! Statements about what boxes were offered, and are: what a caution is made of.

use super::db::Channel;
use noderr_protocol::release::{ALL_TIERS, ANY_HARDWARE};
use sqlx::PgConnection;
use uuid::Uuid;

/// The manifest of a release.
pub(super) async fn manifest(connection: &mut PgConnection, release: Uuid) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT t.body FROM releases r JOIN release_targets t ON t.name = r.kind || '/' || r.name || '/' || r.version
         AND t.sha256 = r.sha256 WHERE r.id = $1",
        release
    )
    .fetch_optional(connection)
    .await
}

/// A version and its security epoch.
pub(super) struct Epoch {
    pub(super) version: String,
    pub(super) epoch: i64,
}

/// The greatest security epoch that boxes may have heard of: of all that channels of this kind and name have had.
pub(super) async fn greatest_epoch(
    connection: &mut PgConnection,
    channel: &Channel,
) -> sqlx::Result<Option<Epoch>> {
    sqlx::query_as!(
        Epoch,
        "SELECT r.version, r.security_epoch AS epoch FROM deployments d JOIN releases r ON r.id = d.release_id
         WHERE r.kind = $1 AND r.name = $2 ORDER BY r.security_epoch DESC, d.id DESC LIMIT 1",
        channel.kind,
        channel.name
    )
    .fetch_optional(connection)
    .await
}

/// The versions that channels of a kind and a name have now.
pub(super) async fn versions_in_channels(
    connection: &mut PgConnection,
    kind: &str,
    name: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT DISTINCT r.version FROM channels c JOIN releases r ON r.id = c.release_id WHERE c.kind = $1 AND c.name = $2",
        kind,
        name
    )
    .fetch_all(connection)
    .await
}

/// A channel that has another version, and counts before this one for nodes of both.
pub(super) struct Nearer {
    pub(super) tier: String,
    pub(super) hardware: String,
    pub(super) version: String,
}

pub(super) async fn nearer(
    connection: &mut PgConnection,
    channel: &Channel,
    release: Uuid,
) -> sqlx::Result<Vec<Nearer>> {
    sqlx::query_as!(
        Nearer,
        "SELECT c.tier, c.hardware, r.version FROM channels c JOIN releases r ON r.id = c.release_id
         WHERE c.kind = $1 AND c.name = $2 AND r.id <> $7
         AND ($3 IN (c.tier, $5) OR c.tier = $5) AND ($4 IN (c.hardware, $6) OR c.hardware = $6)
         AND (c.tier <> $5, c.hardware <> $6) > ($3 <> $5, $4 <> $6)
         ORDER BY c.tier, c.hardware",
        channel.kind,
        channel.name,
        channel.tier,
        channel.hardware,
        ALL_TIERS,
        ANY_HARDWARE,
        release
    )
    .fetch_all(connection)
    .await
}
