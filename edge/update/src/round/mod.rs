//! A round of work: brings the releases that are wanted, one after another. Metadata, connections and indexes live only as
//! long as the round does.

mod begin;
mod mandate;

pub(crate) use mandate::Copy as Mandated;

use crate::fetch::{Beside, Fetcher};
use crate::judge::{Judge, Verdict};
use crate::places::{Failed, Place, in_background, place_in, places_of};
use crate::plan::Planning;
use crate::purse::{Purse, cost_of};
use crate::setback::Setback;
use crate::settings::{Settings, Watch};
use crate::stage::{Event, Stage};
use crate::stick::StickFolder;
use crate::store::{Gap, ManifestFile};
use crate::way::OnTheWay;
use mandate::Mandate;
use noderr_part::Folder;
use noderr_protocol::release::{Archive, ReleaseName, ReleaseRefusal};
use std::sync::Arc;
use tokio::time::Instant;

/// A round of work.
pub struct Round {
    settings: Settings,
    folder: Option<StickFolder>,
    fetcher: Fetcher,
    judge: Judge,
    data: Arc<Folder>,
    purse: Purse,
    /// When the newest metadata was asked for last.
    refreshed: Instant,
    mandate: Mandate,
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
        // The look that was taken while another release came may have found nobody.
        if !self.judge.is_refreshed() {
            self.refresh().await?;
        }
        Ok(match self.judge.judge(release).await? {
            Verdict::Held => Event::Found,
            Verdict::Lacking(named) => {
                let (target, signed) = *named;
                (way.target, way.signed) = (Some(target), Some(signed));
                Event::Named
            }
        })
    }

    async fn refresh(&mut self) -> Result<(), Setback> {
        self.judge.ask().await?;
        self.refreshed = Instant::now();
        Ok(())
    }

    /// Gets the index, takes what the box has already, and finds out what the rest costs.
    async fn prepare(&mut self, wanted: &[ReleaseName], way: &mut OnTheWay) -> Result<Event, Setback> {
        let signed = way.signed.clone().ok_or_else(lost)?;
        let archive = signed.manifest.archive.clone();
        way.began = self.purse.come();
        way.ask_at(self.places(&archive).await);
        let index = match self.judge.store().index(&signed) {
            Some(index) => index,
            None => self.fetch_index(archive.index_bytes, &signed, way).await?,
        };
        let store = self.judge.store().clone();
        let planning = Planning { store, signed, index, wanted: wanted.to_vec() };
        let plan = in_background(move || Ok(planning.plan())).await??;
        if !way.is_local() {
            self.purse.allows_of(cost_of(plan.requests, plan.bytes), archive.bytes)?;
        }
        let (known, mandate) = (self.judge.known().clone(), self.mandate.copy());
        let (disk, leave_free) = (self.data.root().to_owned(), self.settings.leave_free);
        let coming = in_background(move || {
            let _one = known.hold_store();
            Ok(plan.begin((&disk, leave_free), &mandate))
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
        signed: &ManifestFile,
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
        let beside = if !place.is_local() && way.has_others() { Beside::Others } else { Beside::Nobody };
        let filled = place.fill(&self.fetcher, &coming, &gap, beside).await;
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
            Err(Failed::Place(Setback::Passing(why)))
                if beside == Beside::Others || coming.gaps().first() != Some(&gap) =>
            {
                tracing::debug!(why, "a transfer was broken off");
                way.ask_others_first();
            }
            Err(Failed::Place(why)) => {
                way.give_up(why);
                if place.is_local() && !way.is_local() && !way.places.is_empty() {
                    // What was to come from a stick costs something now.
                    let gaps = coming.gaps();
                    let whole = coming.signed().manifest.archive.bytes;
                    self.purse.allows_of(cost_of(gaps.len(), bytes_of(&gaps)), whole)?;
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
        let target = self.judge.target(release).await?;
        if Some(&target) == way.target.as_ref() {
            return Ok(());
        }
        Err(Setback::refused(ReleaseRefusal::Mismatched, format!("{release} was changed while it came")))
    }

    /// Checks the whole, and holds it.
    async fn check(&mut self, wanted: &[ReleaseName], way: &mut OnTheWay) -> Result<Event, Setback> {
        let coming = way.coming.take().and_then(Arc::into_inner).ok_or_else(lost)?;
        let (store, known) = (self.judge.store().clone(), self.judge.known().clone());
        let (signed, wanted) = (coming.signed().clone(), wanted.to_vec());
        let (key, manifest) = (signed.key(), signed.manifest.clone());
        let (builders, mandate) = (self.judge.builders().clone(), self.mandate.copy());
        let held = in_background(move || {
            let _one = known.hold_store();
            let checked = match coming.check(&builders) {
                Ok(checked) => checked,
                Err(error) => return Ok(Err(error.into())),
            };
            let hold = || checked.hold(&store).map(|_| store.trim(&signed, &wanted));
            Ok(mandate.act(hold).and_then(|held| held.map_err(Setback::from)))
        });
        match held.await? {
            Ok(()) => {
                self.judge.note_held(key, &manifest).await?;
                Ok(Event::Checked)
            }
            Err(wrong @ Setback::Refused { .. }) => {
                self.judge.note_wrong(key, wrong.clone());
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
