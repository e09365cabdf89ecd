//! A round of work: brings the releases that are wanted, one after another. Metadata, connections and indexes live only as
//! long as the round does.

mod begin;

pub use begin::LastWord;

use crate::epochs::Epochs;
use crate::fetch::Fetcher;
use crate::known::Known;
use crate::machine::{Event, Stage};
use crate::places::{Failed, Place, in_background, place_in, places_of};
use crate::plan::Planning;
use crate::policy::{fits, lacks, meets};
use crate::purse::{Purse, cost_of};
use crate::setback::Setback;
use crate::settings::{Clock, Settings, Watch};
use crate::stick::StickFolder;
use crate::store::{Gap, Signed, Store, StoreError};
use crate::trust::{Target, Trust};
use crate::way::OnTheWay;
use noderr_archive::check_builder;
use noderr_part::Folder;
use noderr_protocol::release::{Archive, Builders, ReleaseName, ReleaseRefusal};
use std::io;
use std::sync::Arc;
use tokio::time::Instant;

/// A round of work.
pub struct Round {
    settings: Settings,
    folder: Option<StickFolder>,
    fetcher: Fetcher,
    trust: Trust,
    store: Store,
    data: Arc<Folder>,
    purse: Purse,
    epochs: Epochs,
    clock: Clock,
    /// Who may build, read and as it was signed.
    builders: (Builders, Vec<u8>),
    known: Known,
    refreshed: Instant,
}

impl Round {
    /// What releases have cost in this month.
    pub fn spent(&self) -> u64 {
        self.purse.spent()
    }

    /// Brings a release, and shows each stage to whoever watches. What is wanted is not forgotten for it.
    pub async fn bring(
        &mut self,
        release: &ReleaseName,
        wanted: &[ReleaseName],
        watch: &mut dyn Watch,
    ) -> Stage {
        let mut stage = Stage::Looking;
        let mut way = OnTheWay::default();
        while stage.is_under_way() {
            watch.sees(&stage, self.spent());
            let done = match &stage {
                Stage::Looking => self.look(release, &mut way).await,
                Stage::Preparing => self.prepare(wanted, &mut way).await,
                Stage::Fetching(_) => self.fetch(release, &mut way).await,
                _ => self.check(wanted, &mut way).await,
            };
            stage = stage.after(done.unwrap_or_else(Event::Stopped));
        }
        self.purse.settle().await;
        watch.sees(&stage, self.spent());
        stage
    }

    /// Finds out what a release is, whether it is for this box, and whether it is here already.
    async fn look(&mut self, release: &ReleaseName, way: &mut OnTheWay) -> Result<Event, Setback> {
        let (target, signed) = self.named(release).await?;
        fits(&signed.manifest, &self.settings.this)?;
        self.meets_requirements(&signed).await?;
        self.epochs.allow(&signed.manifest)?;
        if let Some(wrong) = self.known.wrong(&signed.key(), &self.builders.0) {
            return Err(wrong);
        }
        if self.is_here(&signed).await? {
            self.epochs.raise(&signed.manifest).await?;
            return Ok(Event::Found);
        }
        (way.target, way.signed) = (Some(target), Some(signed));
        Ok(Event::Named)
    }

    /// What the metadata says that a release is, built by one who may.
    async fn named(&mut self, release: &ReleaseName) -> Result<(Target, Signed), Setback> {
        let target = self.trust.target(&release.to_string(), self.now()).await?;
        let bytes = self.trust.read(&target).await?;
        let malformed =
            |error: String| Setback::refused(ReleaseRefusal::Malformed, format!("its manifest: {error}"));
        let signed =
            Signed::read(bytes, self.builders.0.clone()).map_err(|error| malformed(error.to_string()))?;
        if signed.manifest.release != *release {
            return Err(malformed(format!("it is of {}", signed.manifest.release)));
        }
        check_builder(&signed.manifest, &self.builders.0).map_err(StoreError::from)?;
        Ok((target, signed))
    }

    /// Whether all of it lies in the store, whole.
    async fn is_here(&self, signed: &Signed) -> Result<bool, Setback> {
        let key = signed.key();
        let Some(held) = self.store.held().into_iter().find(|held| held.signed.key() == key) else {
            return Ok(false);
        };
        let known = self.known.clone();
        in_background(move || Ok(known.check(&held))).await
    }

    /// Refuses what requires a release that is not held. What lies in the store is held if the metadata says so too.
    async fn meets_requirements(&mut self, signed: &Signed) -> Result<(), Setback> {
        for one in &signed.manifest.requires {
            let stored = self.store.held().into_iter().map(|held| held.release().clone());
            let mut is_met = false;
            for name in stored.filter(|name| meets(one, name)) {
                is_met |= match self.named(&name).await {
                    Ok((_, required)) => self.is_here(&required).await?,
                    Err(Setback::Refused { .. }) => false,
                    Err(passing) => return Err(passing),
                };
            }
            if !is_met {
                return Err(lacks(&signed.manifest, one));
            }
        }
        Ok(())
    }

    /// Gets the index, takes what the box has already, and finds out what the rest costs.
    async fn prepare(&mut self, wanted: &[ReleaseName], way: &mut OnTheWay) -> Result<Event, Setback> {
        let signed = way.signed.clone().ok_or_else(lost)?;
        let archive = signed.manifest.archive.clone();
        way.began = self.purse.come();
        way.ask_at(self.places(&archive).await);
        let index = match self.store.index(&signed) {
            Some(index) => index,
            None => self.fetch_index(archive.index_bytes, &signed, way).await?,
        };
        let planning = Planning { store: self.store.clone(), signed, index, wanted: wanted.to_vec() };
        let plan = in_background(move || Ok(planning.plan())).await??;
        if !way.is_local() {
            self.purse.allows(cost_of(plan.requests, plan.bytes), archive.bytes)?;
        }
        let (known, disk) = (self.known.clone(), self.data.root().to_owned());
        let coming = in_background(move || {
            let _one = known.hold_store();
            Ok(plan.begin(&disk))
        });
        let coming = Arc::new(coming.await??);
        let gaps = coming.gaps();
        way.coming = Some(coming);
        if gaps.is_empty() {
            return Ok(Event::Complete);
        }
        let bytes = bytes_of(&gaps);
        let costs = if way.is_local() { bytes } else { cost_of(gaps.len(), bytes) };
        Ok(Event::Costs(self.come(way) + costs))
    }

    /// Where an archive lies, the nearest first.
    async fn places(&self, archive: &Archive) -> Vec<Place> {
        if let Some(folder) = &self.folder {
            return vec![place_in(folder, &archive.sha256)];
        }
        let (base, spread) = (&self.settings.control_plane, &self.settings.spread);
        let mut places = Vec::new();
        if let Some(stick) = &self.settings.stick {
            let on_stick = place_in(stick, &archive.sha256);
            if on_stick.is_there(archive.bytes).await {
                places.push(on_stick);
            }
        }
        places.extend(places_of(&self.fetcher, base, &archive.sha256, spread).await);
        places
    }

    /// Bytes that have come of a release, over the network and from a folder.
    fn come(&self, way: &OnTheWay) -> u64 {
        way.filled + self.purse.come() - way.began
    }

    async fn fetch_index(
        &mut self,
        bytes: u64,
        signed: &Signed,
        way: &mut OnTheWay,
    ) -> Result<Vec<u8>, Setback> {
        loop {
            let place = way.place()?;
            if !place.is_local() {
                self.purse.cover(bytes).await?;
            }
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

    /// Fills one gap, or finds that there is none.
    async fn fetch(&mut self, release: &ReleaseName, way: &mut OnTheWay) -> Result<Event, Setback> {
        let coming = way.coming.clone().ok_or_else(lost)?;
        let Some(gap) = coming.gaps().into_iter().next() else { return Ok(Event::Complete) };
        self.look_again(release, way).await?;
        let asked = gap.bytes.end - gap.bytes.start;
        let place = way.place()?;
        if !place.is_local() {
            self.purse.cover(asked).await?;
        }
        let before = self.purse.come();
        let of_many = !place.is_local() && way.has_others();
        let filled = place.fill(&self.fetcher, &coming, &gap, of_many).await;
        let wasted = self.purse.come() - before > 2 * asked + 64 * 1024;
        match filled {
            Ok(()) | Err(Failed::Place(_)) if wasted => {
                way.give_up(Setback::Passing("the place sends far more than it was asked for".to_owned()));
            }
            Ok(()) if place.is_local() => way.filled += asked,
            Ok(()) => {}
            Err(Failed::Here(setback)) => return Err(setback),
            // What has come of the gap stays; a place that breaks off after something, or is slow while there are others, is asked again
            // after the others.
            Err(Failed::Place(Setback::Passing(why))) if of_many || coming.gaps().first() != Some(&gap) => {
                tracing::debug!(why, "a transfer was broken off");
                way.ask_others_first();
            }
            Err(Failed::Place(why)) => {
                way.give_up(why);
                if place.is_local() && !way.is_local() && !way.places.is_empty() {
                    // What was to come from a stick costs something now.
                    let gaps = coming.gaps();
                    let whole = coming.signed().manifest.archive.bytes;
                    self.purse.allows(cost_of(gaps.len(), bytes_of(&gaps)), whole)?;
                }
            }
        }
        Ok(Event::Came(self.come(way)))
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
    async fn check(&mut self, wanted: &[ReleaseName], way: &mut OnTheWay) -> Result<Event, Setback> {
        let coming = way.coming.take().and_then(Arc::into_inner).ok_or_else(lost)?;
        let (store, key, known) = (self.store.clone(), coming.signed().key(), self.known.clone());
        let (signed, wanted) = (coming.signed().clone(), wanted.to_vec());
        let manifest = signed.manifest.clone();
        let held = in_background(move || {
            let _one = known.hold_store();
            let held = coming.finish(&store);
            if held.is_ok() {
                store.trim(&signed, &wanted).map_err(io::Error::other)?;
            }
            Ok(held.map(drop))
        });
        match held.await?.map_err(Setback::from) {
            Ok(()) => {
                self.known.note_whole(key);
                self.epochs.raise(&manifest).await?;
                Ok(Event::Checked)
            }
            Err(wrong @ Setback::Refused { .. }) => {
                // It would come again, and be as wrong again.
                self.known.note_wrong(key, self.builders.0.clone(), wrong.clone());
                Err(wrong)
            }
            Err(passing) => Err(passing),
        }
    }
}

fn bytes_of(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.bytes.end - gap.bytes.start).sum()
}

fn lost() -> Setback {
    Setback::Passing("the work was interrupted".to_owned())
}
