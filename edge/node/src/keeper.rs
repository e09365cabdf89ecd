//! The keeper: writes the desired state to the disk, for the next start.

use crate::shared::Shared;
use noderr_part::Backoff;
use std::time::Duration;

/// Writes the newest down whenever it changes, trying for as long as the disk refuses.
pub(crate) async fn run(shared: Shared) {
    let mut keeps = shared.desired.keeps();
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    // What the start found is on the disk already.
    let mut written = Some(keeps.now());
    loop {
        let now = keeps.now();
        if written.as_ref() != Some(&now) {
            match shared.data.write_on_disk(now.clone()).await {
                Ok(()) => {
                    backoff.reset();
                    written = Some(now);
                }
                Err(error) => {
                    tracing::warn!(%error, "the desired state is in force, but not on the disk yet");
                    tokio::time::sleep(backoff.pause()).await;
                    continue;
                }
            }
        }
        if keeps.changed().await.is_err() {
            return;
        }
    }
}
