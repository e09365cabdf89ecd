//! What the node should hold while it has no session: after a while the node asks for the beacon, and keeps the answer until there
//! is a session again.

use super::source;
use crate::shared::Shared;
use anyhow::Context as _;
use noderr_link::LinkState;
use noderr_part::Document;
use noderr_protocol::release::{Beacon, MAX_BEACON, ReleaseName, Tier};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How long the node has been alone, and what it has heard meanwhile.
#[derive(Debug)]
pub(super) struct Alone {
    silence: Mutex<Silence>,
}

#[derive(Debug)]
struct Silence {
    /// Of the document that the node was told last.
    desired_version: u64,
    since: Option<Instant>,
    heard: Heard,
}

/// What the beacon has said last, or what has come on a stick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    /// The desired state that was the newest then: one that is newer counts instead.
    desired_version: u64,
    wanted: Option<Vec<String>>,
}

impl Document for Heard {
    const FILE: &str = "releases-heard.json";
}

fn ask_after(shared: &Shared) -> Duration {
    Duration::from_secs(shared.config.releases.ask_after_s)
}

impl Alone {
    pub(super) async fn new(shared: &Shared, desired_version: u64) -> Self {
        let data = shared.data.clone();
        let heard = spawn_blocking(move || data.read_or_default()).await.unwrap_or_default();
        Self { silence: Mutex::new(Silence { desired_version, since: None, heard }) }
    }

    /// The node was told the same in a newer document: what was heard since the one before counts on.
    pub(super) fn told(&self, desired_version: u64) {
        self.silence().desired_version = desired_version;
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether something else than the control plane has said what the node should hold.
    pub(super) fn has_heard(&self) -> bool {
        self.silence().heard.wanted.is_some()
    }

    /// Whether the node has no session.
    pub(super) fn is_so(&self, shared: &Shared) -> bool {
        self.lasts(shared).is_some()
    }

    /// What a node of this tier should hold while it is alone, if the beacon has said so since the node was told. Once there is a
    /// session again, what was said is forgotten.
    pub(super) async fn wanted(&self, shared: &Shared, tier: Option<Tier>) -> Option<Vec<ReleaseName>> {
        if matches!(*shared.link.borrow(), LinkState::Up { .. }) {
            self.note(shared, Heard::default()).await;
        }
        let lasts = self.lasts(shared)?;
        if lasts >= ask_after(shared) {
            match beacon(shared).await {
                Ok(beacon) => {
                    let wanted = beacon.wanted(tier, &shared.config.releases.words());
                    self.keep(shared, &wanted).await;
                    return Some(wanted);
                }
                Err(error) => tracing::debug!(%error, "no server says what this node should hold"),
            }
        }
        let (told, heard) = {
            let silence = self.silence();
            (silence.desired_version, silence.heard.clone())
        };
        let heard = heard.wanted.filter(|_| heard.desired_version == told);
        heard.map(|names| names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Keeps what the node should hold until it is told again, over a start too: a box does not go back because its cable is cut.
    pub(super) async fn keep(&self, shared: &Shared, wanted: &[ReleaseName]) {
        let wanted = Some(wanted.iter().map(ToString::to_string).collect());
        let desired_version = self.silence().desired_version;
        self.note(shared, Heard { desired_version, wanted }).await;
    }

    async fn note(&self, shared: &Shared, heard: Heard) {
        if std::mem::replace(&mut self.silence().heard, heard.clone()) == heard {
            return;
        }
        if let Err(error) = shared.data.write_on_disk(heard).await {
            tracing::warn!(%error, "what was heard of releases counts, and is not on the disk");
        }
    }
}

async fn beacon(shared: &Shared) -> anyhow::Result<Beacon> {
    let base = shared.config.control_plane.url.trim_end_matches('/');
    let fetcher = source::fetcher(shared)?;
    let bytes = fetcher.all(&format!("{base}/releases/beacon.json"), MAX_BEACON as u64).await?;
    Beacon::read(&bytes).context("the beacon cannot be read")
}
