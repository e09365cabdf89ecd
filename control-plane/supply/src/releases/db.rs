//! Statements about releases.

use noderr_protocol::release::{Manifest, ReleaseName};
use sqlx::PgConnection;
use std::collections::HashMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// How often what boxes are shown has changed.
pub(super) async fn generation(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT generation FROM supply").fetch_one(connection).await
}

/// Holds what boxes are shown, against everybody else who would change it, and counts the change; returns the count.
pub(crate) async fn hold_supply(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("UPDATE supply SET generation = generation + 1 RETURNING generation")
        .fetch_one(connection)
        .await
}

/// Signed metadata.
#[derive(Clone)]
pub(super) struct Metadata {
    pub(super) role: String,
    pub(super) version: i64,
    pub(super) body: Vec<u8>,
}

/// Every root, and the newest of every other role.
pub(super) async fn metadata(connection: &mut PgConnection) -> sqlx::Result<Vec<Metadata>> {
    sqlx::query_as!(
        Metadata,
        r#"SELECT role AS "role!", version AS "version!", body AS "body!" FROM (
             SELECT role, version, body, rank() OVER (PARTITION BY role ORDER BY version DESC) AS newest
             FROM release_metadata) ranked
           WHERE role = 'root' OR newest = 1"#
    )
    .fetch_all(connection)
    .await
}

/// The newest metadata of a role.
pub(super) struct Newest {
    pub(super) role: String,
    pub(super) version: i64,
    pub(super) sha256: Vec<u8>,
}

/// The newest metadata of each role.
pub(super) async fn newest(connection: &mut PgConnection) -> sqlx::Result<Vec<Newest>> {
    sqlx::query_as!(
        Newest,
        r#"SELECT DISTINCT ON (role) role, version, sha256(body) AS "sha256!" FROM release_metadata
           ORDER BY role, version DESC"#
    )
    .fetch_all(connection)
    .await
}

/// The newest timestamp.
pub(super) async fn timestamp(connection: &mut PgConnection) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT body FROM release_metadata WHERE role = 'timestamp' ORDER BY version DESC LIMIT 1"
    )
    .fetch_optional(connection)
    .await
}

pub(super) async fn put_metadata(connection: &mut PgConnection, new: &Metadata) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO release_metadata (role, version, body) SELECT $1, $2, $3
         WHERE NOT EXISTS (SELECT FROM release_metadata WHERE role = $1 AND version = $2 AND body = $3)",
        new.role,
        new.version,
        new.body
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Every small target: name, hash, bytes.
pub(super) async fn targets(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, Vec<u8>)>> {
    let rows = sqlx::query!("SELECT name, body FROM release_targets").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.body)).collect())
}

pub(super) async fn put_target(
    connection: &mut PgConnection,
    name: &str,
    sha256: &[u8],
    body: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO release_targets (name, sha256, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        name,
        sha256,
        body
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Every release that was ever published, with the hash of its manifest.
pub(super) async fn released(connection: &mut PgConnection) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows =
        sqlx::query!(r#"SELECT kind || '/' || name || '/' || version AS "release!", sha256 FROM releases"#)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|row| (row.release, row.sha256)).collect())
}

/// Notes a release that the metadata names for the first time.
pub(super) async fn note_release(
    connection: &mut PgConnection,
    manifest: &Manifest,
    sha256: &[u8],
    by: &str,
) -> sqlx::Result<()> {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (content, archive) = (&manifest.content, &manifest.archive);
    sqlx::query!(
        "INSERT INTO artefacts (archive_sha256, archive_bytes, index_bytes, content_sha256, content_bytes)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        archive.sha256.0.as_slice(),
        signed(archive.bytes),
        signed(archive.index_bytes),
        content.sha256.0.as_slice(),
        signed(content.bytes)
    )
    .execute(&mut *connection)
    .await?;
    let words = |words: &[noderr_protocol::release::Word]| {
        words.iter().map(|word| word.as_str().to_owned()).collect::<Vec<_>>()
    };
    let ReleaseName { series, version } = &manifest.release;
    sqlx::query!(
        "INSERT INTO releases (id, kind, name, version, sha256, archive_sha256, security_epoch, hardware, tiers, published_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        Uuid::now_v7(),
        &*series.kind.name(),
        series.name.as_str(),
        version.to_string(),
        sha256,
        archive.sha256.0.as_slice(),
        i64::from(manifest.security_epoch),
        &words(&manifest.hardware),
        &words(&manifest.tiers),
        by
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// What travels to a box that holds an earlier version.
pub(super) struct Update {
    pub(super) from: String,
    pub(super) bytes: i64,
}

pub(super) async fn note_update(
    connection: &mut PgConnection,
    release: &ReleaseName,
    update: Option<&Update>,
) -> sqlx::Result<()> {
    let ReleaseName { series, version } = release;
    sqlx::query!(
        "UPDATE releases SET update_from = $4, update_bytes = $5 WHERE kind = $1 AND name = $2 AND version = $3",
        &*series.kind.name(),
        series.name.as_str(),
        version.to_string(),
        update.map(|update| &*update.from),
        update.map(|update| update.bytes)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks the releases that are not among these names as withdrawn; returns those that were not before.
pub(super) async fn mark_withdrawn(
    connection: &mut PgConnection,
    named: &[String],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"UPDATE releases SET withdrawn_at = now()
           WHERE withdrawn_at IS NULL AND kind || '/' || name || '/' || version <> ALL($1)
           RETURNING kind || '/' || name || '/' || version AS "release!""#,
        named
    )
    .fetch_all(connection)
    .await
}

/// Marks the releases that are among these names as not withdrawn; returns those that were.
pub(super) async fn unmark_withdrawn(
    connection: &mut PgConnection,
    named: &[String],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"UPDATE releases SET withdrawn_at = NULL
           WHERE withdrawn_at IS NOT NULL AND kind || '/' || name || '/' || version = ANY($1)
           RETURNING kind || '/' || name || '/' || version AS "release!""#,
        named
    )
    .fetch_all(connection)
    .await
}

/// Whether a release's archive was removed.
pub(super) async fn is_removed(connection: &mut PgConnection, archive: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM artefacts WHERE archive_sha256 = $1 AND removed_at IS NOT NULL) AS "is!""#,
        archive
    )
    .fetch_one(connection)
    .await
}

/// Marks an archive that has come again as not removed.
pub(super) async fn unmark_removed(connection: &mut PgConnection, archive: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE artefacts SET removed_at = NULL WHERE archive_sha256 = $1 AND removed_at IS NOT NULL",
        archive
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A release and its artefact.
pub(super) struct ReleaseRow {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) archive_sha256: Vec<u8>,
    pub(super) archive_bytes: i64,
    pub(super) content_sha256: Vec<u8>,
    pub(super) content_bytes: i64,
    pub(super) security_epoch: i64,
    pub(super) hardware: Vec<String>,
    pub(super) tiers: Vec<String>,
    pub(super) published_at: OffsetDateTime,
    pub(super) published_by: String,
    pub(super) withdrawn_at: Option<OffsetDateTime>,
    pub(super) removed_at: Option<OffsetDateTime>,
    pub(super) update_from: Option<String>,
    pub(super) update_bytes: Option<i64>,
}

pub(super) async fn list(
    connection: &mut PgConnection,
    (kind, name): (Option<&str>, Option<&str>),
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<ReleaseRow>> {
    sqlx::query_as!(
        ReleaseRow,
        "SELECT r.id, r.kind, r.name, r.version, a.archive_sha256, a.archive_bytes, a.content_sha256, a.content_bytes,
           r.security_epoch, r.hardware, r.tiers, r.published_at, r.published_by, r.withdrawn_at, a.removed_at,
           r.update_from, r.update_bytes
         FROM releases r JOIN artefacts a USING (archive_sha256)
         WHERE ($1::text IS NULL OR r.kind = $1) AND ($2::text IS NULL OR r.name = $2) AND ($3::uuid IS NULL OR r.id < $3)
         ORDER BY r.id DESC LIMIT $4",
        kind,
        name,
        after,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn find(
    connection: &mut PgConnection,
    kind: &str,
    name: &str,
    version: &str,
) -> sqlx::Result<Option<ReleaseRow>> {
    sqlx::query_as!(
        ReleaseRow,
        "SELECT r.id, r.kind, r.name, r.version, a.archive_sha256, a.archive_bytes, a.content_sha256, a.content_bytes,
           r.security_epoch, r.hardware, r.tiers, r.published_at, r.published_by, r.withdrawn_at, a.removed_at,
           r.update_from, r.update_bytes
         FROM releases r JOIN artefacts a USING (archive_sha256) WHERE r.kind = $1 AND r.name = $2 AND r.version = $3",
        kind,
        name,
        version
    )
    .fetch_optional(connection)
    .await
}

/// How many nodes are how far with a release.
pub(super) async fn states(
    connection: &mut PgConnection,
    kind: &str,
    name: &str,
    version: &str,
) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT state::text AS "state!", count(*) AS "nodes!" FROM node_releases
           WHERE kind = $1 AND name = $2 AND version = $3 GROUP BY state ORDER BY state"#,
        kind,
        name,
        version
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.nodes)).collect())
}
