//! Looks after the spool's database: opens it when it is closed, says when it had to be begun anew, and clears away what
//! was set aside.

use crate::shared::Shared;
use noderr_part::SLOW_DISK;
use noderr_protocol::AlertCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(5);
const CLEAR_EVERY: Duration = Duration::from_secs(3600);
/// How often an emptied spool is begun anew at most: a disk that refuses is not to be worn out.
const BEGIN_EVERY: Duration = Duration::from_secs(3600);

pub(crate) async fn run(shared: Shared) {
    let (mut cleared, mut begun): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        if !shared.outbox.spool.stats().open {
            open(shared.clone()).await;
        }
        if shared.outbox.spool.stats().outgrown && begun.is_none_or(|at| at.elapsed() >= BEGIN_EVERY) {
            begun = begin_anew(&shared).await.then(Instant::now);
        }
        if let Some(aside) = shared.outbox.spool.replaced() {
            let detail = format!("the previous spool was unreadable and lies in {}", aside.display());
            shared.outbox.alert(shared.clock.now_ms(), AlertCode::SpoolReplaced, &detail).await;
        }
        if cleared.is_none_or(|at| at.elapsed() >= CLEAR_EVERY) {
            cleared = Some(Instant::now());
            clear(&shared).await;
        }
        _ = tokio::time::timeout(LOOK_EVERY, shared.outbox.refused.notified()).await;
    }
}

/// How long opening may go without a sign: sled reads its whole log in one piece, and of the slowest disk half a MiB a second.
const fn limit(spool_mib: u64) -> Duration {
    Duration::from_secs(SLOW_DISK.as_secs() + spool_mib.saturating_mul(2))
}

/// Opens the spool, for as long as the disk takes; the watchdog sees the progress. Where it fails, the spool's state says why.
pub(crate) async fn open(shared: Shared) {
    let limit = limit(shared.config.storage.spool_mib);
    let (spool, busy) = (shared.outbox.spool.clone(), shared.outbox.pulse.busy(limit));
    let opening = tokio::task::spawn_blocking(move || spool.try_open(&|| busy.gets_on()).is_ok());
    match opening.await {
        Ok(true) => shared.outbox.signal.notify_one(),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "opening the spool panicked"),
    }
}

/// Begins the spool anew, which is empty and large; returns whether that was tried.
async fn begin_anew(shared: &Shared) -> bool {
    let spool = Arc::clone(&shared.outbox.spool);
    // Where a disk refuses, the old database is opened again.
    let busy = shared.outbox.pulse.busy(limit(shared.config.storage.spool_mib));
    let beginning = tokio::task::spawn_blocking(move || {
        let _busy = busy;
        spool.begin_anew()
    });
    match beginning.await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the emptied spool cannot be begun anew");
            true
        }
        Err(error) => {
            tracing::error!(%error, "beginning the spool anew panicked");
            true
        }
    }
}

/// Clears away what was set aside long ago, and puts down what is still there.
async fn clear(shared: &Shared) {
    let spool = Arc::clone(&shared.outbox.spool);
    match shared.data.on_disk(move |_| anyhow::Ok(spool.clear_set_aside()?)).await {
        Ok(bytes) => shared.data.ledger().claim("broken spools", bytes),
        Err(error) => tracing::warn!(%error, "what was set aside cannot be looked at"),
    }
    let claims = shared.data.ledger().claims();
    shared.board.update(|status| status.disk_claims_kib = claims.values().sum::<u64>() / 1024);
}
