//! A release on its way: what is known of it so far, and where the rest is asked for.

use crate::places::Place;
use crate::setback::Setback;
use crate::store::{Coming, ManifestFile};
use crate::trust::Target;
use std::sync::Arc;

/// A release on its way.
#[derive(Default)]
pub(crate) struct OnTheWay {
    pub(crate) target: Option<Target>,
    pub(crate) signed: Option<ManifestFile>,
    pub(crate) coming: Option<Arc<Coming>>,
    pub(crate) places: Vec<Place>,
    /// How many of the places were not asked in vain yet.
    fresh: usize,
    /// Why the last place was of no use.
    why: Option<Setback>,
    /// What the meter showed when it began.
    pub(crate) began: u64,
    /// Bytes that have come from a folder.
    pub(crate) filled: u64,
}

impl OnTheWay {
    /// The archive lies at these places.
    pub(crate) fn ask_at(&mut self, places: Vec<Place>) {
        (self.fresh, self.places) = (places.len(), places);
    }

    /// Whether there are others that have not been asked yet.
    pub(crate) const fn has_others(&self) -> bool {
        self.fresh > 1
    }

    /// The place that is asked now.
    pub(crate) fn place(&self) -> Result<Place, Setback> {
        let none =
            || Setback::Passing("neither a mirror nor the control plane hands the archive out".to_owned());
        self.places.first().cloned().ok_or_else(|| self.why.clone().unwrap_or_else(none))
    }

    /// Whether the place that is asked now costs nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.places.first().is_some_and(Place::is_local)
    }

    /// Asks the other servers first, if there are any: this one broke off, or is slow.
    pub(crate) fn ask_others_first(&mut self) {
        self.fresh = self.fresh.saturating_sub(1);
        if !self.is_local() && !self.places.is_empty() {
            self.places.rotate_left(1);
        }
    }

    /// Asks a place no more.
    pub(crate) fn give_up(&mut self, why: Setback) {
        tracing::warn!(place = ?self.places.first(), ?why, "a place of an archive is of no use");
        self.fresh = self.fresh.saturating_sub(1);
        self.places.remove(0);
        self.why = Some(why);
    }
}
