//! What was found out of releases since the node has started, so that no byte is read or fetched again to learn the same.

use crate::setback::Setback;
use crate::store::{Held, Store};
use noderr_protocol::release::{Builders, ReleaseName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was found out of releases since the node has started, by the hashes of their manifests. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Known {
    found: Arc<Mutex<Found>>,
    /// Held by whoever changes the store: work that nobody waits for any more must not meet what follows.
    store: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Found {
    /// Read and checked to the end.
    whole: BTreeSet<String>,
    /// Fetched, and not what it should be, with the builders by whom that was said.
    wrong: BTreeMap<String, (Builders, Setback)>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold_store(&self) -> MutexGuard<'_, ()> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was read and checked.
    fn is_whole(&self, key: &str) -> bool {
        self.lock().whole.contains(key)
    }

    /// Whether every byte of what is held is what was signed: read and checked once since the start. Waits for the disk.
    pub(crate) fn check(&self, held: &Held) -> bool {
        let key = held.signed.key();
        if self.is_whole(&key) {
            return true;
        }
        match held.open() {
            Ok(_) => {
                self.note_whole(key);
                true
            }
            Err(error) => {
                let release = held.release();
                tracing::error!(%error, %release, "what is held is damaged, and comes again where it is");
                false
            }
        }
    }

    /// The release of this name that was read and checked, by what was signed: something else may lie there under its name.
    pub fn find(&self, store: &Store, release: &ReleaseName) -> Option<Held> {
        store.held().into_iter().find(|held| held.release() == release && self.is_whole(&held.signed.key()))
    }

    pub(crate) fn note_whole(&self, key: String) {
        self.lock().whole.insert(key);
    }

    /// Why it is not to be fetched again.
    pub(crate) fn wrong(&self, key: &str, builders: &Builders) -> Option<Setback> {
        let found = self.lock();
        let (by, why) = found.wrong.get(key)?;
        (by == builders).then(|| why.clone())
    }

    pub(crate) fn note_wrong(&self, key: String, builders: Builders, why: Setback) {
        self.lock().wrong.insert(key, (builders, why));
    }
}
