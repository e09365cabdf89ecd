//! What a release takes before it is begun: what must go for it, what the box has of it, what the rest is. Nothing is changed on
//! the disk until that is known and allowed.

use crate::round::Mandated;
use crate::setback::Setback;
use crate::store::{Coming, ManifestFile, Store, Stored, lacking};
use noderr_part::Disk;
use noderr_protocol::release::ReleaseName;
use std::path::Path;

/// Versions that are looked through for what they have in common with a new one.
const SEEDS: usize = 2;

/// What is known of a release before it is planned.
pub(crate) struct Planning {
    pub(crate) store: Store,
    pub(crate) signed: ManifestFile,
    pub(crate) index: Vec<u8>,
    pub(crate) wanted: Vec<ReleaseName>,
}

/// How a release will come.
pub(crate) struct Plan {
    from: Planning,
    /// What must go.
    gone: Vec<Stored>,
    seeds: Vec<Stored>,
    /// Requests for what is lacking.
    pub(crate) requests: usize,
    /// Bytes that are lacking, as they travel.
    pub(crate) bytes: u64,
}

impl Planning {
    pub(crate) fn plan(self) -> Result<Plan, Setback> {
        let gone = self.store.plan(&self.signed, &self.wanted)?;
        let goes = |held: &Stored| gone.iter().any(|gone| gone.release() == held.release());
        let of_series = self.store.stored().into_iter().filter(|held| held.is_of_series(&self.signed));
        let seeds: Vec<_> = of_series.filter(|held| !goes(held)).take(SEEDS).collect();
        let begun = self.store.begun(&self.signed);
        let (requests, bytes) = lacking(&self.signed, &self.index, begun.as_deref(), &seeds)?;
        Ok(Plan { from: self, gone, seeds, requests, bytes })
    }
}

impl Plan {
    /// Makes room, begins the artefact or goes on with it, and takes what the box has of it. Nothing that is held goes for a
    /// release that the disk of this folder has no room for, beside what others need of the disk.
    pub(crate) fn begin(
        self,
        (disk, leave_free): (&Path, u64),
        mandate: &Mandated,
    ) -> Result<Coming, Setback> {
        let Self { from, gone, seeds, .. } = self;
        let coming = mandate.act(|| make_room(from, &gone, (disk, leave_free)))??;
        for seed in seeds.iter().take_while(|_| !coming.gaps().is_empty()) {
            coming.seed_from(seed)?;
        }
        Ok(coming)
    }
}

fn make_room(from: Planning, gone: &[Stored], (disk, leave_free): (&Path, u64)) -> Result<Coming, Setback> {
    let Planning { store, signed, index, wanted } = from;
    store.tidy(&signed, &wanted);
    let given_back = gone.iter().map(Stored::bytes).fold(0, u64::saturating_add);
    let needs = signed.manifest.content.bytes.saturating_sub(store.begun_bytes(&signed));
    let free = Disk::of(disk).map_or(u64::MAX, |disk| disk.free);
    let room = free.saturating_add(given_back).saturating_sub(leave_free);
    if needs > room {
        return Err(Setback::Passing(format!(
            "the disk is full: it takes {needs} bytes, and {room} are free"
        )));
    }
    gone.iter().for_each(|stored| store.forget(stored));
    Ok(store.begin(signed, &index)?)
}
