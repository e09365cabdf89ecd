//! What was found out of releases since the node has started, so that no byte is read or fetched again to learn the same.

use crate::setback::Setback;
use crate::store::{Store, Stored};
use noderr_protocol::release::{Builders, ReleaseName};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// Read and checked to the end, with the builders by whom that was said.
    whole: BTreeMap<String, Builders>,
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

    /// Whether every byte of it is what was signed, and built by one of these: read and checked once since the start. Waits for the disk.
    pub(crate) fn check(&self, stored: &Stored, builders: &Builders) -> bool {
        let key = stored.says.key();
        if self.lock().whole.get(&key) == Some(builders) {
            return true;
        }
        match stored.open(builders) {
            Ok(_) => {
                self.note_whole(key, builders.clone());
                true
            }
            Err(error) => {
                let release = stored.release();
                tracing::error!(%error, %release, "what is held is damaged, and comes again where it is");
                false
            }
        }
    }

    /// Where the release of this name lies that was read and checked: something else may lie there under its name.
    pub fn verified_path(&self, store: &Store, release: &ReleaseName) -> Option<PathBuf> {
        let mut stored = store.stored().into_iter().filter(|stored| stored.release() == release);
        stored.find(|stored| self.lock().whole.contains_key(&stored.says.key())).map(|stored| stored.path())
    }

    pub(crate) fn note_whole(&self, key: String, builders: Builders) {
        self.lock().whole.insert(key, builders);
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
