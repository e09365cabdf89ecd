//! What the node should hold while nobody tells it: once it has had no session for a while, it asks for the beacon.

use super::source;
use crate::shared::Shared;
use anyhow::Context as _;
use noderr_link::LinkState;
use noderr_protocol::release::{Beacon, ReleaseName, Tier};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The largest beacon that is read.
const LARGEST: u64 = 256 * 1024;

/// Since when the node has had no session.
#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Option<Instant>>);

fn ask_after(shared: &Shared) -> Duration {
    Duration::from_secs(shared.config.releases.ask_after_s)
}

impl Alone {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the node has had no session; not at all where it was turned away.
    fn lasts(&self, shared: &Shared) -> Option<Duration> {
        let is_alone = matches!(*shared.link.borrow(), LinkState::Down(_));
        let mut since = self.since();
        *since = is_alone.then(|| since.unwrap_or_else(Instant::now));
        since.map(|since| since.elapsed())
    }

    /// A pause that ends no later than it is time to ask.
    pub(super) fn pause(&self, shared: &Shared, pause: Duration) -> Duration {
        match self.lasts(shared).and_then(|lasts| ask_after(shared).checked_sub(lasts)) {
            Some(left) => pause.min(left + Duration::from_millis(1)),
            None => pause,
        }
    }

    /// What the beacon says that a node of this tier should hold, if it is time to ask.
    pub(super) async fn wanted(&self, shared: &Shared, tier: Option<Tier>) -> Option<Vec<ReleaseName>> {
        if self.lasts(shared)? < ask_after(shared) {
            return None;
        }
        match beacon(shared).await {
            Ok(beacon) => Some(beacon.wanted(tier, &source::hardware(&shared.config))),
            Err(error) => {
                tracing::debug!(%error, "nobody says what this node should hold");
                None
            }
        }
    }
}

async fn beacon(shared: &Shared) -> anyhow::Result<Beacon> {
    let base = shared.config.control_plane.url.trim_end_matches('/');
    let fetcher = source::fetcher(shared)?;
    let bytes = fetcher.all(&format!("{base}/releases/beacon.json"), LARGEST).await?;
    serde_json::from_slice(&bytes).context("the beacon cannot be read")
}
