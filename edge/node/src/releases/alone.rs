//! What the node should hold while nobody tells it: once it has had no session for a while, it asks for the beacon, or looks at a
//! stick. What it has heard stays so until it is told again.

use super::{source, stick};
use crate::shared::Shared;
use anyhow::Context as _;
use noderr_link::LinkState;
use noderr_part::Document;
use noderr_protocol::release::{Beacon, ReleaseName, Tier};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The largest beacon that is read.
const LARGEST: u64 = 256 * 1024;

/// How long the node has been alone, and what it has heard meanwhile.
#[derive(Debug)]
pub(super) struct Alone(Mutex<Silence>);

#[derive(Debug)]
struct Silence {
    since: Option<Instant>,
    heard: Heard,
}

/// What the beacon, or a stick, has said last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    /// The desired state that was the newest then: one that is newer counts instead.
    told: u64,
    wanted: Option<Vec<String>>,
}

impl Document for Heard {
    const FILE: &str = "releases-heard.json";
}

fn ask_after(shared: &Shared) -> Duration {
    Duration::from_secs(shared.config.releases.ask_after_s)
}

impl Alone {
    pub(super) fn new(shared: &Shared) -> Self {
        Self(Mutex::new(Silence { since: None, heard: shared.data.read_or_default() }))
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the node has had no session; not at all where it was turned away.
    fn lasts(&self, shared: &Shared) -> Option<Duration> {
        let is_alone = matches!(*shared.link.borrow(), LinkState::Down(_));
        let mut silence = self.silence();
        silence.since = is_alone.then(|| silence.since.unwrap_or_else(Instant::now));
        silence.since.map(|since| since.elapsed())
    }

    /// A pause that ends no later than it is time to ask.
    pub(super) fn pause(&self, shared: &Shared, pause: Duration) -> Duration {
        match self.lasts(shared).and_then(|lasts| ask_after(shared).checked_sub(lasts)) {
            Some(left) => pause.min(left + Duration::from_millis(1)),
            None => pause,
        }
    }

    /// What a node of this tier should hold while it is alone, if anybody has said so since it was told.
    pub(super) async fn wanted(
        &self,
        shared: &Shared,
        tier: Option<Tier>,
        told: &[ReleaseName],
    ) -> Option<Vec<ReleaseName>> {
        let lasts = self.lasts(shared)?;
        let heard = self.heard(shared);
        if lasts < ask_after(shared) {
            return heard;
        }
        let wanted = match beacon(shared).await {
            Ok(beacon) => Some(beacon.wanted(tier, &shared.config.releases.words())),
            Err(error) => {
                tracing::debug!(%error, "no server says what this node should hold");
                stick::wanted(shared, tier, heard.as_deref().unwrap_or(told))
            }
        };
        if let Some(wanted) = &wanted {
            self.keep(shared, wanted).await;
        }
        wanted.or(heard)
    }

    fn heard(&self, shared: &Shared) -> Option<Vec<ReleaseName>> {
        let silence = self.silence();
        let heard = silence.heard.wanted.as_ref().filter(|_| silence.heard.told == shared.desired.version());
        heard.map(|names| names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Keeps what was heard, over a start too: a box does not go back because its cable is cut.
    async fn keep(&self, shared: &Shared, wanted: &[ReleaseName]) {
        let wanted = Some(wanted.iter().map(ToString::to_string).collect());
        let heard = Heard { told: shared.desired.version(), wanted };
        if std::mem::replace(&mut self.silence().heard, heard.clone()) == heard {
            return;
        }
        if let Err(error) = shared.data.on_disk(move |data| anyhow::Ok(data.write(&heard)?)).await {
            tracing::warn!(%error, "what was heard of releases counts, and is not on the disk");
        }
    }
}

async fn beacon(shared: &Shared) -> anyhow::Result<Beacon> {
    let base = shared.config.control_plane.url.trim_end_matches('/');
    let fetcher = source::fetcher(shared)?;
    let bytes = fetcher.all(&format!("{base}/releases/beacon.json"), LARGEST).await?;
    serde_json::from_slice(&bytes).context("the beacon cannot be read")
}
