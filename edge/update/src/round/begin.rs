//! How a round begins: with the newest metadata, or, where nobody can be asked, with the last word of the release keys.

use super::Round;
use crate::epochs::Epochs;
use crate::fetch::{Fetcher, Reach};
use crate::known::Known;
use crate::machine::Event;
use crate::purse::Purse;
use crate::repository::Repository;
use crate::setback::Setback;
use crate::settings::{Clock, Settings, Source, store_in};
use crate::stick::StickFolder;
use crate::trust::{Limits, Refusal, Trust, TrustError};
use crate::way::OnTheWay;
use noderr_part::Folder;
use noderr_protocol::release::{BUILDERS, Builders, MAX_MANIFEST, ReleaseName, ReleaseRefusal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

const LIMITS: Limits = Limits { target_bytes: MAX_MANIFEST as u64 };

fn trust_folder(data: &Folder) -> PathBuf {
    data.root().join("releases/trust")
}

impl Round {
    /// Begins a round: asks for the newest metadata, and keeps what it says of what is wanted for times when nobody can be asked.
    /// `root` is the root that the box was given.
    pub async fn begin(
        data: Arc<Folder>,
        settings: Settings,
        source: Source,
        root: &[u8],
        clock: Clock,
        known: Known,
        wanted: &[ReleaseName],
    ) -> Result<Self, Setback> {
        let (fetcher, folder) = match source {
            Source::Network(tls) => (Fetcher::new(tls, settings.reach.clone()), None),
            Source::Plain => (Fetcher::plain(settings.reach.clone()), None),
            Source::Folder(folder) => (Fetcher::plain(Reach::Anywhere), Some(folder)),
        };
        let fetcher = fetcher.at_most(settings.bytes_per_s);
        let base = settings.control_plane.trim_end_matches('/');
        let repository = match &folder {
            None => Repository::Server {
                fetcher: fetcher.clone(),
                metadata: format!("{base}/releases/metadata"),
                targets: format!("{base}/releases/targets"),
            },
            Some(folder) => Repository::Folder(folder.clone()),
        };
        let trust = Trust::open(&trust_folder(&data), root, repository, LIMITS)?;
        let mut round = Self::with(data, settings, trust, (fetcher, folder), clock, known).await?;
        let allowed = if round.folder.is_some() { Ok(()) } else { round.purse.allows_asking() };
        let begun = match allowed {
            Ok(()) => round.ask_about(wanted).await,
            refused => refused,
        };
        // What was asked in vain has cost something too.
        round.purse.settle().await;
        begun.map(|()| round)
    }

    async fn with(
        data: Arc<Folder>,
        settings: Settings,
        trust: Trust,
        (fetcher, folder): (Fetcher, Option<StickFolder>),
        clock: Clock,
        known: Known,
    ) -> Result<Self, Setback> {
        let meter = fetcher.meter().clone();
        let purse = Purse::open(data.clone(), settings.allowance, meter, clock.clone());
        let store = store_in(&data, settings.store);
        let epochs = Epochs::open(data.clone(), &store).await?;
        let builders = (Builders::default(), Vec::new());
        let refreshed = Instant::now();
        Ok(Self {
            settings,
            folder,
            fetcher,
            trust,
            store,
            data,
            purse,
            epochs,
            clock,
            builders,
            known,
            refreshed,
        })
    }

    async fn ask_about(&mut self, wanted: &[ReleaseName]) -> Result<(), Setback> {
        self.ask().await?;
        self.learn(wanted).await
    }

    /// Asks for the newest metadata, and who may build.
    async fn ask(&mut self) -> Result<(), Setback> {
        self.refresh().await?;
        let builders = self.trust.target(BUILDERS, self.now()).await?;
        let bytes = self.trust.read(&builders).await?;
        let malformed = |error: serde_json::Error| {
            Setback::refused(ReleaseRefusal::Malformed, format!("the builders cannot be read: {error}"))
        };
        self.builders = (serde_json::from_slice(&bytes).map_err(malformed)?, bytes);
        Ok(())
    }

    pub(super) async fn refresh(&mut self) -> Result<(), Setback> {
        self.trust.refresh(self.now()).await?;
        self.refreshed = Instant::now();
        Ok(())
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Whether whoever vouches for the metadata vouches for this beacon too.
    pub fn names_beacon(&self, bytes: &[u8]) -> bool {
        self.trust.names_beacon(bytes)
    }

    /// Learns what the metadata says of all that is wanted, and keeps it: the box goes by it while nobody can be asked.
    pub async fn learn(&mut self, wanted: &[ReleaseName]) -> Result<(), Setback> {
        for release in wanted {
            match self.trust.target(&release.to_string(), self.now()).await {
                Ok(_) | Err(TrustError::Refused { why: Refusal::NotNamed, .. }) => {}
                Err(error) => {
                    // It is said again when the release is looked at; until then the word before stands.
                    tracing::debug!(%error, %release, "nothing new is kept for times without a network");
                    return Ok(());
                }
            }
        }
        Ok(self.trust.keep_last_word(&self.builders.1)?)
    }
}

/// What the release keys said last, for a box that can ask nobody.
pub struct LastWord(Round);

impl LastWord {
    /// What was [learned](Round::learn) last. `root` is the root that the box was given.
    pub async fn open(
        data: Arc<Folder>,
        settings: Settings,
        root: &[u8],
        known: Known,
    ) -> Result<Self, Setback> {
        let held = store_in(&data, settings.store).held_folder();
        let trust = Trust::of_last_word(&trust_folder(&data), held, root, LIMITS)?;
        // The last word does not end.
        let clock: Clock = Arc::new(|| UNIX_EPOCH);
        let nowhere = (Fetcher::plain(settings.reach.clone()), None);
        let mut round = Round::with(data, settings, trust, nowhere, clock, known).await?;
        round.ask().await?;
        Ok(Self(round))
    }

    /// Whether a release is held, and is what was signed and built by those who may. Waits for the disk.
    pub async fn is_held(&mut self, release: &ReleaseName) -> bool {
        matches!(self.0.look(release, &mut OnTheWay::default()).await, Ok(Event::Found))
    }
}
