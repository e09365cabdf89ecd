//! Where trusted metadata is kept: the chain of roots, and one file a role, each written whole or not at all. What is read again is
//! checked again from the root that the box was given, so a folder that was tampered with costs at most the knowledge of what
//! was there.

use super::guard::each_key_once;
use noderr_part::{own_folder, read_file, replace_file};
use sigstore_tuf::MetadataStore;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// More than any metadata comes to.
pub(super) const LARGEST: u64 = 4 << 20;

/// How the TUF client calls the roots of the chain.
const ROOTS: &str = "root_history/";

/// How the TUF client calls the root that follows one of this version.
pub(super) fn root_after(version: u64) -> String {
    format!("{ROOTS}{}.root.json", version + 1)
}

/// The first error of the disk. The TUF client goes on without a copy on the disk; the box must not, until it has opened the folder
/// again: what is not on the disk can be rolled back.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(super) fn first(&self) -> Option<io::Error> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().map(|error| io::Error::new(error.kind(), error.to_string()))
    }

    fn note(&self, error: &io::Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
    }
}

pub(super) struct Kept {
    folder: PathBuf,
    failure: Failure,
}

impl Kept {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        own_folder(folder)?;
        own_folder(&folder.join("roots"))?;
        Ok(Self { folder: folder.to_owned(), failure: Failure::default() })
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// The file of a role, or a root of the chain. Earlier versions of other metadata and copies of targets are not kept.
    fn place(&self, name: &str) -> Option<PathBuf> {
        if let Some(root) = name.strip_prefix(ROOTS) {
            return (!root.contains('/')).then(|| self.folder.join("roots").join(root));
        }
        let is_versioned = name.split_once('.').is_some_and(|(version, _)| version.parse::<u64>().is_ok());
        (!name.contains('/') && !is_versioned).then(|| self.folder.join(name))
    }
}

impl MetadataStore for Kept {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let Some(place) = self.place(name) else { return Ok(None) };
        let kept = read(&place).map_err(|source| failed(&place, source))?;
        kept.as_deref().map_or(Ok(()), each_key_once)?;
        Ok(kept)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        let Some(place) = self.place(name) else { return Ok(()) };
        // What is there already needs no new copy: the disk of a box wears out.
        if read(&place).is_ok_and(|there| there.as_deref() == Some(bytes)) {
            return Ok(());
        }
        replace_file(&place, bytes).map_err(|error| {
            self.failure.note(&error);
            failed(&place, error)
        })
    }
}

fn read(place: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_file(place, LARGEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(%error, place = %place.display(), "what is trusted was tampered with, and is asked for anew");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn failed(place: &Path, source: io::Error) -> sigstore_tuf::Error {
    sigstore_tuf::Error::Io { context: format!("the metadata in {}", place.display()), source }
}
