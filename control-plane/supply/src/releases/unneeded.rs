//! Statements about what nobody needs any more.

use sqlx::PgConnection;

/// Archives that nobody needs: of no channel, of no node, and not of the newest `keep` of their names; and what was withdrawn
/// and is not used any more.
pub(super) async fn archives(connection: &mut PgConnection, keep: i64) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT a.archive_sha256 FROM artefacts a WHERE a.removed_at IS NULL AND NOT EXISTS (
           SELECT FROM (
             SELECT r.*, rank() OVER (PARTITION BY r.kind, r.name ORDER BY r.published_at DESC, r.id DESC) AS newest
             FROM releases r) r
           WHERE r.archive_sha256 = a.archive_sha256 AND (
             (r.newest <= $1 AND r.withdrawn_at IS NULL)
             OR EXISTS (SELECT FROM channels c WHERE c.release_id = r.id)
             OR EXISTS (SELECT FROM node_releases n JOIN admitted d ON d.id = n.node_id
                        WHERE n.kind = r.kind AND n.name = r.name AND n.version = r.version
                          AND n.state IN ('fetching', 'waiting') AND n.reported_at > now() - interval '1 day')
             OR r.published_at > now() - interval '1 hour'))",
        keep
    )
    .fetch_all(connection)
    .await
}

/// Whether a publication has ever named an archive.
pub(super) async fn is_published(connection: &mut PgConnection, archive: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM artefacts WHERE archive_sha256 = $1) AS "is!""#,
        archive
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn mark_removed(connection: &mut PgConnection, archive: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE artefacts SET removed_at = now() WHERE archive_sha256 = $1 AND removed_at IS NULL",
        archive
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets online metadata that no box asks for any more.
pub(super) async fn forget_online(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM release_metadata m WHERE role IN ('snapshot', 'timestamp') AND published_at < now() - interval '1 day'
           AND version < (SELECT max(version) - 10 FROM release_metadata WHERE role = m.role)"
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Forgets small targets that nobody names any more.
pub(super) async fn forget_targets(connection: &mut PgConnection, named: &[Vec<u8>]) -> sqlx::Result<()> {
    sqlx::query_scalar!("SELECT forget_release_targets($1)", named).fetch_one(connection).await?;
    Ok(())
}
