//! A round of work: brings the releases that are wanted, one after another. Metadata, connections and indexes live only as
//! long as the round does.

use crate::account::Account;
use crate::fetch::{Fetcher, Reach};
use crate::machine::{Event, Setback, Stage};
use crate::places::{Failed, place_in, places_of};
use crate::policy::{allows, fits};
use crate::repository::Repository;
use crate::settings::{Clock, Settings, Source, Watch, Whole, store_in};
use crate::store::{Signed, Store, StoreError};
use crate::trust::{Limits, Trust};
use crate::way::OnTheWay;
use noderr_part::Folder;
use noderr_protocol::release::{BUILDERS, Builders, MAX_MANIFEST, ReleaseName, ReleaseRefusal};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

/// What a request and the beginning of its answer take, and what a connection does.
const REQUEST: u64 = 600;
const CONNECTION: u64 = 6000;
/// Bytes of the archive that one byte of TLS goes with.
const TLS: u64 = 500;

/// A round of work.
pub struct Round {
    settings: Settings,
    folder: Option<PathBuf>,
    fetcher: Fetcher,
    trust: Trust,
    store: Store,
    account: Account,
    clock: Clock,
    builders: Builders,
    /// What was read and checked in this round or an earlier one.
    whole: Whole,
    refreshed: Instant,
}

impl Round {
    /// Begins a round: asks for the newest metadata. `root` is the root that the box was given.
    pub async fn begin(
        data: Arc<Folder>,
        settings: Settings,
        source: Source,
        root: &[u8],
        clock: Clock,
        whole: Whole,
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
            Some(folder) => {
                Repository::Folder { metadata: folder.join("metadata"), targets: folder.join("targets") }
            }
        };
        let limits = Limits { target_bytes: MAX_MANIFEST as u64 };
        let trust = Trust::open(&data.root().join("releases/trust"), root, repository, limits)?;
        let account = Account::open(data.clone(), clock());
        let store = store_in(&data, settings.store);
        let (builders, refreshed) = (Builders::default(), Instant::now());
        let mut round =
            Self { settings, folder, fetcher, trust, store, account, clock, builders, whole, refreshed };
        round.refresh().await?;
        let builders = round.trust.target(BUILDERS, round.now()).await?;
        let builders = round.trust.read(&builders).await?;
        let malformed = |error: serde_json::Error| {
            Setback::refused(ReleaseRefusal::Malformed, format!("the builders cannot be read: {error}"))
        };
        round.builders = serde_json::from_slice(&builders).map_err(malformed)?;
        Ok(round)
    }

    async fn refresh(&mut self) -> Result<(), Setback> {
        self.trust.refresh(self.now()).await?;
        self.refreshed = Instant::now();
        Ok(())
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// What releases have cost in this month.
    pub fn spent(&self) -> u64 {
        self.account.spent()
    }

    /// Brings a release, and shows each stage to whoever watches. `keep` is not forgotten for it.
    pub async fn bring(
        &mut self,
        release: &ReleaseName,
        keep: &[ReleaseName],
        watch: &mut dyn Watch,
    ) -> Stage {
        let mut stage = Stage::Looking;
        let mut way = OnTheWay::default();
        while stage.is_under_way() {
            watch.sees(&stage, self.spent());
            let done = match &stage {
                Stage::Looking => self.look(release, &mut way).await,
                Stage::Preparing => self.prepare(keep, &mut way).await,
                Stage::Fetching(_) => self.fetch(release, &mut way).await,
                _ => self.check(&mut way).await,
            };
            stage = stage.after(done.unwrap_or_else(Event::Stopped));
        }
        self.settle().await;
        watch.sees(&stage, self.spent());
        stage
    }

    /// Writes down what has come beside transfers.
    async fn settle(&mut self) {
        let (bytes, now) = (self.fetcher.meter().bytes(), self.now());
        let settled = match self.account.cover(bytes, now).await {
            Ok(()) => self.account.settle(bytes).await,
            failed => failed,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "what releases cost in this month cannot be written down");
        }
    }

    /// Finds out what a release is, whether it is for this box, and whether it is here already.
    async fn look(&mut self, release: &ReleaseName, way: &mut OnTheWay) -> Result<Event, Setback> {
        let target = self.trust.target(&release.to_string(), self.now()).await?;
        let bytes = self.trust.read(&target).await?;
        let malformed =
            |error: String| Setback::refused(ReleaseRefusal::Malformed, format!("its manifest: {error}"));
        let signed =
            Signed::read(bytes, self.builders.clone()).map_err(|error| malformed(error.to_string()))?;
        if signed.manifest.release != *release {
            return Err(malformed(format!("it is of {}", signed.manifest.release)));
        }
        let held: Vec<_> = self.store.held();
        let names: Vec<_> = held.iter().map(|held| held.signed.manifest.release.clone()).collect();
        fits(&signed.manifest, &self.settings.this, &names)?;
        let key = signed.key();
        if let Some(held) = held.into_iter().find(|held| held.signed.key() == key) {
            let is_known = self.lock_whole().contains(&key);
            match if is_known { Ok(()) } else { opened(held).await? } {
                Ok(()) => {
                    self.lock_whole().insert(key);
                    return Ok(Event::Found);
                }
                Err(error) => {
                    tracing::error!(%error, %release, "what is held is damaged, and comes again where it is");
                }
            }
        }
        (way.target, way.signed) = (Some(target), Some(signed));
        Ok(Event::Named)
    }

    fn lock_whole(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets the index, takes what the box has already, and finds out what the rest costs.
    async fn prepare(&mut self, keep: &[ReleaseName], way: &mut OnTheWay) -> Result<Event, Setback> {
        let signed = way.signed.clone().ok_or_else(lost)?;
        let archive = signed.manifest.archive.clone();
        way.began = self.fetcher.meter().bytes();
        way.places = match &self.folder {
            Some(folder) => vec![place_in(folder, &archive.sha256)],
            None => {
                let (base, spread) = (&self.settings.control_plane, &self.settings.spread);
                places_of(&self.fetcher, base, &archive.sha256, spread).await
            }
        };
        let index = match self.store.index(&signed) {
            Some(index) => index,
            None => self.fetch_index(archive.index_bytes, &signed, way).await?,
        };
        let (store, keep) = (self.store.clone(), keep.to_vec());
        let coming = tokio::task::spawn_blocking(move || {
            store.make_room(&signed, &keep)?;
            let seeds: Vec<_> =
                store.held().into_iter().filter(|held| held.is_of_series(&signed)).take(2).collect();
            let coming = store.begin(signed, &index)?;
            for seed in seeds.iter().take_while(|_| !coming.gaps().is_empty()) {
                coming.seed_from(seed).map_err(Setback::from)?;
            }
            Ok::<_, Setback>(coming)
        });
        let coming = Arc::new(coming.await.map_err(|error| Setback::Passing(error.to_string()))??);
        let gaps = coming.gaps();
        way.coming = Some(coming);
        if gaps.is_empty() {
            return Ok(Event::Complete);
        }
        let bytes: u64 = gaps.iter().map(|gap| gap.bytes.end - gap.bytes.start).sum();
        if self.folder.is_some() {
            return Ok(Event::Costs(bytes));
        }
        let come = self.fetcher.meter().bytes() - way.began;
        let cost = come + bytes + bytes / TLS + REQUEST * gaps.len() as u64 + CONNECTION;
        allows(&self.settings.allowance, self.account.spent(), cost, archive.bytes)?;
        Ok(Event::Costs(cost))
    }

    async fn fetch_index(
        &mut self,
        bytes: u64,
        signed: &Signed,
        way: &mut OnTheWay,
    ) -> Result<Vec<u8>, Setback> {
        if self.folder.is_none() {
            allows(&self.settings.allowance, self.account.spent(), bytes, u64::MAX)?;
            self.cover(bytes).await?;
        }
        loop {
            let place = way.place()?;
            let why = match place.index(&self.fetcher, bytes).await {
                Ok(index) if signed.has_index(&index) => return Ok(index),
                Ok(_) => {
                    let detail = "the index of the archive is not what was signed".to_owned();
                    Setback::refused(ReleaseRefusal::Mismatched, detail)
                }
                Err(Failed::Place(why)) => why,
                Err(Failed::Here(setback)) => return Err(setback),
            };
            way.give_up(why);
        }
    }

    /// Makes sure that the account covers so many bytes more.
    async fn cover(&mut self, bytes: u64) -> Result<(), Setback> {
        let (upto, now) = (self.fetcher.meter().bytes() + bytes + REQUEST, self.now());
        self.account.cover(upto, now).await.map_err(|error| Setback::Passing(error.to_string()))
    }

    /// Fills one gap, or finds that there is none.
    async fn fetch(&mut self, release: &ReleaseName, way: &mut OnTheWay) -> Result<Event, Setback> {
        let coming = way.coming.clone().ok_or_else(lost)?;
        let Some(gap) = coming.gaps().into_iter().next() else { return Ok(Event::Complete) };
        self.look_again(release, way).await?;
        if self.folder.is_none() {
            self.cover(gap.bytes.end - gap.bytes.start).await?;
        }
        match way.place()?.fill(&self.fetcher, &coming, &gap).await {
            Ok(()) => way.filled += gap.bytes.end - gap.bytes.start,
            Err(Failed::Here(setback)) => return Err(setback),
            // What has come of the gap stays; a place that gives something and then breaks off is asked again.
            Err(Failed::Place(Setback::Passing(why))) if coming.gaps().first() != Some(&gap) => {
                tracing::debug!(why, "a transfer was broken off");
            }
            Err(Failed::Place(why)) => way.give_up(why),
        }
        let come = if self.folder.is_some() { way.filled } else { self.fetcher.meter().bytes() - way.began };
        Ok(Event::Came(come))
    }

    /// Makes sure, now and then, that the release is still what the metadata names. While nobody answers, it is.
    async fn look_again(&mut self, release: &ReleaseName, way: &OnTheWay) -> Result<(), Setback> {
        if self.refreshed.elapsed() < self.settings.look_again {
            return Ok(());
        }
        match self.refresh().await {
            Err(Setback::Passing(why)) => {
                tracing::debug!(why, "nobody says whether a release is still named");
                self.refreshed = Instant::now();
                return Ok(());
            }
            refreshed => refreshed?,
        }
        let target = self.trust.target(&release.to_string(), self.now()).await?;
        if Some(&target) == way.target.as_ref() {
            return Ok(());
        }
        Err(Setback::refused(ReleaseRefusal::Mismatched, format!("{release} was changed while it came")))
    }

    /// Checks the whole, and holds it.
    async fn check(&mut self, way: &mut OnTheWay) -> Result<Event, Setback> {
        let coming = way.coming.take().and_then(Arc::into_inner).ok_or_else(lost)?;
        let (store, key) = (self.store.clone(), coming.signed().key());
        let held = tokio::task::spawn_blocking(move || coming.finish(&store)).await;
        held.map_err(|error| Setback::Passing(error.to_string()))??;
        self.lock_whole().insert(key);
        Ok(Event::Checked)
    }
}

fn lost() -> Setback {
    Setback::Passing("the work was interrupted".to_owned())
}

/// Opens what is held, which reads and checks all of it.
async fn opened(held: crate::store::Held) -> Result<Result<(), StoreError>, Setback> {
    let opened = tokio::task::spawn_blocking(move || held.open().map(drop)).await;
    opened.map_err(|error| Setback::Passing(error.to_string()))
}
