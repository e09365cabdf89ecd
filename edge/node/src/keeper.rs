//! Keeps the desired state on the disk, for the next start.

use crate::desired::Kept;
use crate::shared::Shared;
use noderr_part::Backoff;
use std::time::Duration;

/// Keeps the newest document on the disk, trying for as long as the disk refuses.
pub(crate) async fn run(shared: Shared) {
    let mut newest = shared.desired.subscribe();
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    let mut kept = None;
    loop {
        let state = newest.borrow_and_update().clone();
        if kept != Some(state.version) {
            let (version, document) = (state.version, Kept::from(&*state));
            match shared.data.on_disk(move |data| anyhow::Ok(data.write(&document)?)).await {
                Ok(()) => {
                    backoff.reset();
                    kept = Some(version);
                }
                Err(error) => {
                    tracing::warn!(%error, "the desired state is in force, but not on the disk yet");
                    tokio::time::sleep(backoff.pause()).await;
                    continue;
                }
            }
        }
        if newest.changed().await.is_err() {
            return;
        }
    }
}
