//! What the box holds of releases: artefacts that were verified, each in a folder that goes by the hash of its manifest, and
//! the one that is coming. Bounded; whatever a power cut leaves is whole or coming.
//!
//! ```text
//! releases/held/<hash>/    manifest.json  index  artefact  artefact.minisig
//! releases/coming/<hash>/  the same, the artefact with what has come of it
//! ```

mod coming;
mod stored;

pub(crate) use coming::lacking;
pub use coming::{Checked, Coming, Gap, PutError};
pub use stored::VerifiedArtefact;

use noderr_archive::{IndexError, NotTheArtefact};
use noderr_protocol::release::{Manifest, ReleaseName};
use ring::digest::{SHA256, digest};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index";
const ARTEFACT: &str = "artefact";
const MINISIG: &str = "artefact.minisig";

/// What the store may take.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Versions of one series.
    pub versions: usize,
}

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    limits: StoreLimits,
}

/// A manifest and its bytes, as the metadata names them, or as they lie in the store.
#[derive(Debug, Clone)]
pub struct ManifestFile {
    /// What it says.
    pub manifest: Manifest,
    bytes: Vec<u8>,
}

/// What lies in the store as a release. Somebody else may have written it there: it is held once the metadata names it and all of
/// it was read.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it says that it is.
    pub says: ManifestFile,
    /// When it came.
    pub since: SystemTime,
    folder: PathBuf,
}

/// Why the store cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refuses, or is full.
    #[error("{path}: {why}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The disk does not give back what was written to it: that comes again.
    #[error("{path}: the disk has lost what was written there", path = .0.display())]
    Lost(PathBuf),
    /// It needs more than there is.
    #[error("it takes {needs} bytes, and releases.store_mib leaves room for {room}")]
    NoRoom {
        /// Bytes that are needed.
        needs: u64,
        /// Bytes that there are.
        room: u64,
    },
    /// The index is not what was signed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The artefact is not what was signed.
    #[error(transparent)]
    Artefact(#[from] NotTheArtefact),
}

/// Says where an error of the disk happened.
fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |why| StoreError::Io { path, why }
}

impl ManifestFile {
    /// A manifest in these bytes.
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Self, noderr_protocol::release::ManifestError> {
        Ok(Self { manifest: Manifest::read(&bytes)?, bytes })
    }

    /// Whether these bytes are the index of the archive.
    pub(crate) fn has_index(&self, bytes: &[u8]) -> bool {
        let archive = &self.manifest.archive;
        bytes.len() as u64 == archive.index_bytes && digest(&SHA256, bytes).as_ref() == archive.index_sha256.0
    }

    /// The hash of the manifest, by which the release goes.
    pub(crate) fn key(&self) -> String {
        let digest = digest(&SHA256, &self.bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Store {
    /// The store in a folder, which need not be there yet.
    pub fn open(root: &Path, limits: StoreLimits) -> Self {
        Self { root: root.to_owned(), limits }
    }

    pub(crate) fn held_folder(&self) -> PathBuf {
        self.root.join("held")
    }

    fn coming_folder(&self) -> PathBuf {
        self.root.join("coming")
    }

    /// Everything that lies there as a release, the newest first. What cannot be read is passed over: it is fetched again when it is
    /// wanted.
    pub fn stored(&self) -> Vec<Stored> {
        let read = folders(&self.held_folder()).filter_map(|folder| Stored::read(&folder).ok().flatten());
        let mut all: Vec<_> = read.collect();
        all.sort_by_key(|stored| std::cmp::Reverse(stored.since));
        all
    }

    /// What lies there under this name, whoever has laid it there.
    pub fn stored_as(&self, release: &ReleaseName) -> Option<Stored> {
        self.stored().into_iter().find(|stored| stored.says.manifest.release == *release)
    }

    /// What must go so that a release fits, before any byte of it is asked for. What is wanted never goes; what the release
    /// has most in common with goes last.
    pub fn plan(&self, signed: &ManifestFile, wanted: &[ReleaseName]) -> Result<Vec<Stored>, StoreError> {
        let key = signed.key();
        // What comes again where it is damaged takes no more room than it has.
        let held: Vec<_> = self.stored().into_iter().filter(|held| held.key() != Some(&key)).collect();
        // What goes by the same name is not what was signed.
        let stays =
            |held: &Stored| *held.release() != signed.manifest.release && wanted.contains(held.release());
        let (kept, mut free): (Vec<_>, Vec<_>) = held.into_iter().partition(stays);
        let bytes = |held: &[Stored]| held.iter().map(Stored::bytes).fold(0, u64::saturating_add);
        let needs = signed.manifest.content.bytes;
        let room = self.limits.bytes.saturating_sub(bytes(&kept));
        if needs > room {
            return Err(StoreError::NoRoom { needs, room });
        }
        free.sort_by_key(|held| (!held.is_of_series(signed), std::cmp::Reverse(held.since)));
        let mut gone = Vec::new();
        while needs.saturating_add(bytes(&free)) > room
            && let Some(last) = free.pop()
        {
            gone.push(last);
        }
        Ok(gone)
    }

    /// Removes what was begun and is not wanted, what an interrupted removal has left, and what does not read as a release: it
    /// can be of no use, and nobody would count it. What the disk fails to read stays: it may read again.
    pub fn tidy(&self, signed: &ManifestFile, wanted: &[ReleaseName]) {
        let key = signed.key();
        let is_key = |folder: &PathBuf| folder.file_name().and_then(OsStr::to_str) == Some(&key);
        // Of what comes again, that which is still right is taken over.
        let is_lost =
            |folder: &PathBuf| !is_key(folder) && Stored::read(folder).is_ok_and(|stored| stored.is_none());
        let is_unwanted = |folder: &PathBuf| {
            let is_wanted = || Stored::read_manifest(folder).is_some_and(|it| wanted.contains(&it.release));
            folder.extension().is_some() || (!is_key(folder) && !is_wanted())
        };
        let lost: Vec<_> = folders(&self.held_folder()).filter(is_lost).collect();
        let unwanted: Vec<_> = folders(&self.coming_folder()).filter(is_unwanted).collect();
        lost.iter().chain(&unwanted).for_each(|folder| give_up(folder));
    }

    /// Forgets the oldest versions of a series, of which there are more than may be kept.
    pub fn trim(&self, signed: &ManifestFile, wanted: &[ReleaseName]) {
        let versions = self.stored().into_iter().filter(|held| held.is_of_series(signed));
        let old = versions.skip(self.limits.versions).filter(|held| !wanted.contains(held.release()));
        old.collect::<Vec<_>>().iter().for_each(|held| self.forget(held));
    }

    /// Forgets a release.
    pub fn forget(&self, held: &Stored) {
        give_up(&held.folder);
    }
}

/// Removes a folder, if the disk lets it go: what stays for ever stands in no release's way.
fn give_up(folder: &Path) {
    if let Err(error) = remove(folder) {
        tracing::error!(%error, "what is of no use any more cannot be removed");
    }
}

/// The folders in a folder, which somebody may have made a link to elsewhere.
fn folders(of: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_ours = fs::symlink_metadata(of).is_ok_and(|there| there.is_dir());
    let entries = fs::read_dir(of).ok().filter(|_| is_ours).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path())
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    // Renamed first, so that a power cut in the middle leaves nothing that seems whole.
    let gone = folder.with_extension("gone");
    let is_there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    let removed = || {
        if *folder != *gone {
            fs::remove_dir_all(&gone).or_else(|error| if is_there(&error) { Err(error) } else { Ok(()) })?;
            match fs::rename(folder, &gone) {
                Err(error) if !is_there(&error) => return Ok(()),
                renamed => renamed?,
            }
        }
        // A stray file is none of ours, and stands in nobody's way.
        if fs::symlink_metadata(&gone)?.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) }
    };
    removed().map_err(at(folder))
}

/// Writes a file and makes sure of it. What lies there is no longer, and nothing is written through a link.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
        let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}
