//! How a round begins: with the newest metadata.

use super::Round;
use super::mandate::Mandate;
use crate::fetch::{Fetcher, Reach};
use crate::folders::trust_folder;
use crate::judge::{Judge, LIMITS};
use crate::known::Known;
use crate::purse::Purse;
use crate::repository::Repository;
use crate::setback::Setback;
use crate::settings::{Clock, Settings, Source};
use crate::trust::Trust;
use noderr_part::Folder;
use noderr_protocol::release::ReleaseName;
use std::sync::Arc;
use tokio::time::Instant;

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
        let purse = Purse::open(data.clone(), settings.allowance, fetcher.meter().clone(), clock.clone());
        let judge = Judge::new(data.clone(), &settings, trust, clock, known).await?;
        let (refreshed, mandate) = (Instant::now(), Mandate::new());
        let mut round = Self { settings, folder, fetcher, judge, data, purse, refreshed, mandate };
        let allowed = if round.folder.is_some() { Ok(()) } else { round.purse.allows_asking() };
        let begun = match allowed {
            Ok(()) => round.ask_about(wanted).await,
            refused => refused,
        };
        // What was asked in vain has cost something too.
        round.purse.settle().await;
        begun.map(|()| round)
    }

    async fn ask_about(&mut self, wanted: &[ReleaseName]) -> Result<(), Setback> {
        self.refresh().await?;
        self.learn(wanted).await.map(drop)
    }

    /// Whether whoever vouches for the metadata vouches for this beacon too.
    pub fn names_beacon(&self, bytes: &[u8]) -> bool {
        self.judge.names_beacon(bytes)
    }

    /// Learns what the metadata says of all that is wanted, and keeps it: the box goes by it while nobody can be asked. Returns whether
    /// all of it is kept.
    pub async fn learn(&mut self, wanted: &[ReleaseName]) -> Result<bool, Setback> {
        self.judge.learn(wanted).await
    }
}
