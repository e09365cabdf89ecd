//! Shares out the nodes behind an external broker among the instances that live.

use crate::state::Fleet;
use noderr_broker::{Shares, due};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(2);
/// How long an instance that says nothing counts as living, and holds its shares.
const HELD: Duration = Duration::from_secs(10);

/// Holds this instance's shares until it is told to stop; then the others need not wait.
pub(crate) async fn keep(fleet: Arc<Fleet>, shares: Arc<Shares>) {
    let mut known = Vec::new();
    loop {
        let until = Instant::now() + HELD;
        match take(&fleet).await {
            Ok(taken) => {
                shares.hold(&taken, until);
                if taken != known {
                    tracing::info!(shares = ?taken, "this instance serves these shares of the nodes");
                }
                known = taken;
            }
            Err(error) => tracing::warn!(%error, "the shares of the nodes cannot be renewed"),
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = fleet.kernel.stop.cancelled() => break,
        }
    }
    shares.hold(&[], Instant::now());
    if let Err(error) = leave(&fleet).await {
        tracing::warn!(%error, "the shares of the nodes are not given up; another instance takes them in {HELD:?}");
    }
}

/// Takes the shares that are due to this instance and held by nobody else; gives up those that are due to others.
async fn take(fleet: &Fleet) -> sqlx::Result<Vec<u8>> {
    let me = fleet.kernel.instance;
    let mut tx = fleet.kernel.database.begin().await?;
    sqlx::query!("INSERT INTO instances (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = now()", me)
        .execute(&mut *tx)
        .await?;
    let alive = sqlx::query_scalar!(
        "SELECT id FROM instances WHERE seen_at > now() - make_interval(secs => $1)",
        HELD.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    let due: Vec<_> = due(&me, &alive).into_iter().map(i16::from).collect();
    sqlx::query!("DELETE FROM broker_shares WHERE held_by = $1 AND share <> ALL($2)", me, &due)
        .execute(&mut *tx)
        .await?;
    // Committed by itself: of two instances, each may give up what the other is about to take.
    tx.commit().await?;
    let mut tx = fleet.kernel.database.begin().await?;
    let taken = sqlx::query_scalar!(
        "INSERT INTO broker_shares (share, held_by, held_until)
         SELECT share, $1, now() + make_interval(secs => $3) FROM UNNEST($2::smallint[]) AS d (share) ORDER BY share
         ON CONFLICT (share) DO UPDATE SET held_by = excluded.held_by, held_until = excluded.held_until
           WHERE broker_shares.held_by = $1 OR broker_shares.held_until < now()
         RETURNING share",
        me,
        &due,
        HELD.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(taken.into_iter().filter_map(|share| u8::try_from(share).ok()).collect())
}

async fn leave(fleet: &Fleet) -> sqlx::Result<()> {
    let mut tx = fleet.kernel.database.begin().await?;
    let me = fleet.kernel.instance;
    sqlx::query!("DELETE FROM broker_shares WHERE held_by = $1", me).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM instances WHERE id = $1 OR seen_at < now() - interval '1 day'", me)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
