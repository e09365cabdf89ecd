//! Statements about work.

use super::Piece;
use crate::notices::notify;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) async fn insert(
    connection: &mut PgConnection,
    queue: &str,
    dedupe_key: Option<&str>,
    payload: &Value,
) -> sqlx::Result<()> {
    sqlx::query!("SELECT enqueue_work($1, $2, $3, $4)", Uuid::now_v7(), queue, dedupe_key, payload)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes the piece that has waited longest, if a piece is due and not leased.
pub(super) async fn take(pool: &PgPool, queue: &str, lease_s: f64) -> sqlx::Result<Option<Piece>> {
    let lease = Uuid::now_v7();
    let row = sqlx::query!(
        "UPDATE work SET lease = $2, leased_until = now() + make_interval(secs => $3), attempts = attempts + 1
         WHERE id = (SELECT id FROM work WHERE queue = $1 AND dead_at IS NULL AND run_at <= now()
           AND (lease IS NULL OR leased_until < now()) ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, attempts, payload",
        queue,
        lease,
        lease_s
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Piece { id: row.id, lease, attempt: row.attempts, payload: row.payload }))
}

/// Renews a lease; `false` if it was lost.
pub(super) async fn renew(pool: &PgPool, id: Uuid, lease: Uuid, lease_s: f64) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE work SET leased_until = now() + make_interval(secs => $3) WHERE id = $1 AND lease = $2",
        id,
        lease,
        lease_s
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn finish(connection: &mut PgConnection, piece: &Piece) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM work WHERE id = $1 AND lease = $2", piece.id, piece.lease)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a piece back to be tried again after `pause_s`, or deletes it if another piece with its key waits by
/// now.
pub(super) async fn retry(
    pool: &PgPool,
    id: Uuid,
    lease: Uuid,
    pause_s: f64,
    error: &str,
) -> sqlx::Result<()> {
    let given_back = sqlx::query!(
        "UPDATE work SET lease = NULL, leased_until = NULL, run_at = now() + make_interval(secs => $3), last_error = $4
         WHERE id = $1 AND lease = $2",
        id,
        lease,
        pause_s,
        error
    )
    .execute(pool)
    .await;
    match given_back {
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
            sqlx::query!("DELETE FROM work WHERE id = $1 AND lease = $2", id, lease).execute(pool).await?;
            Ok(())
        }
        given_back => given_back.map(drop),
    }
}

pub(super) async fn give_up(pool: &PgPool, id: Uuid, lease: Uuid, error: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE work SET lease = NULL, leased_until = NULL, dead_at = now(), last_error = $3 WHERE id = $1 AND lease = $2",
        id,
        lease,
        error
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A piece that was given up.
#[derive(Debug)]
pub struct DeadPiece {
    /// The piece.
    pub id: Uuid,
    /// The queue of the piece.
    pub queue: String,
    /// What was to be done.
    pub payload: Value,
    /// When the piece was enqueued.
    pub enqueued_at: OffsetDateTime,
    /// When the piece was given up.
    pub dead_at: OffsetDateTime,
    /// How often the piece was tried.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// Pieces that were given up, newest first.
pub async fn dead(
    connection: &mut PgConnection,
    after: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<DeadPiece>> {
    let (after_at, after_id) = after.unzip();
    sqlx::query_as!(
        DeadPiece,
        r#"SELECT id, queue, payload, enqueued_at, dead_at AS "dead_at!", attempts, last_error FROM work
           WHERE dead_at IS NOT NULL AND ($1::timestamptz IS NULL OR (dead_at, id) < ($1, $2::uuid))
           ORDER BY dead_at DESC, id DESC LIMIT $3"#,
        after_at,
        after_id,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// Queues a piece again that was given up; returns its queue, or `None` if there is no such piece.
pub async fn revive(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<String>> {
    // Where another piece waits with the same key, the revived piece goes without a key: a key may wait only
    // once.
    let queue = sqlx::query_scalar!(
        "WITH twin AS (SELECT w.id FROM work w JOIN work dead ON dead.id = $1 AND w.queue = dead.queue
             AND w.dedupe_key = dead.dedupe_key WHERE w.dead_at IS NULL AND w.lease IS NULL)
         UPDATE work SET dead_at = NULL, attempts = 0, run_at = now(),
           dedupe_key = CASE WHEN EXISTS (SELECT FROM twin) THEN NULL ELSE dedupe_key END
         WHERE id = $1 AND dead_at IS NOT NULL RETURNING queue",
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(queue) = &queue {
        notify(connection, &super::ENQUEUED, queue).await?;
    }
    Ok(queue)
}

/// Forgets a piece that was given up; `false` if there is no such piece.
pub async fn remove(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let gone = sqlx::query_scalar!(r#"SELECT remove_dead_work($1) AS "gone!""#, id);
    Ok(gone.fetch_one(connection).await? == 1)
}
