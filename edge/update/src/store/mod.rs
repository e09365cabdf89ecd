//! What the box holds of releases: artefacts that were verified, each in a folder that goes by the hash of its manifest, and
//! the one that is coming. Bounded; whatever a power cut leaves is whole or coming.
//!
//! ```text
//! releases/held/<hash>/    manifest.json  builders.json  index  artefact  artefact.minisig
//! releases/coming/<hash>/  the same, the artefact with what has come of it
//! ```

mod coming;
mod held;

pub use coming::{Coming, Gap, PutError};
pub use held::VerifiedArtefact;

use atomic_write_file::AtomicWriteFile;
use noderr_archive::{IndexError, NotTheArtefact};
use noderr_protocol::release::{Builders, Manifest, ReleaseName};
use ring::digest::{SHA256, digest};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MANIFEST: &str = "manifest.json";
const BUILDERS: &str = "builders.json";
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

/// A manifest as it was signed, and who may have built what it describes.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What it says.
    pub manifest: Manifest,
    /// The builders that the network named.
    pub builders: Builders,
    bytes: Vec<u8>,
}

/// A release that lies in the store. What it is was verified when it came; its bytes are verified again when they are opened.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is.
    pub signed: Signed,
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

impl Signed {
    /// A manifest in these bytes, which signed metadata names.
    pub fn read(bytes: Vec<u8>, builders: Builders) -> Result<Self, noderr_protocol::release::ManifestError> {
        Ok(Self { manifest: Manifest::read(&bytes)?, builders, bytes })
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

    fn held_folder(&self) -> PathBuf {
        self.root.join("held")
    }

    fn coming_folder(&self) -> PathBuf {
        self.root.join("coming")
    }

    /// Everything that is held, the newest first. What cannot be read is passed over: it is fetched again when it is wanted.
    pub fn held(&self) -> Vec<Held> {
        let entries = fs::read_dir(self.held_folder()).into_iter().flatten().filter_map(Result::ok);
        let mut held: Vec<_> = entries.filter_map(|entry| Held::read(&entry.path())).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.since));
        held
    }

    /// The release of this name, if it is held.
    pub fn find(&self, release: &ReleaseName) -> Option<Held> {
        self.held().into_iter().find(|held| held.signed.manifest.release == *release)
    }

    /// Makes room for a release: forgets what was begun of others, then the oldest versions, and never those in `keep`.
    pub fn make_room(&self, signed: &Signed, keep: &[ReleaseName]) -> Result<(), StoreError> {
        let key = signed.key();
        for entry in fs::read_dir(self.coming_folder()).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_str() != Some(&key) {
                remove(&entry.path())?;
            }
        }
        // What comes again where it is damaged takes no more room than it has.
        let mut held: Vec<_> = self.held().into_iter().filter(|held| held.key() != Some(&key)).collect();
        let needs = signed.manifest.content.bytes;
        loop {
            let taken: u64 = held.iter().map(|held| held.signed.manifest.content.bytes).sum();
            let of_series =
                |held: &&Held| held.signed.manifest.release.series == signed.manifest.release.series;
            let versions = held.iter().filter(of_series).count();
            let room = self.limits.bytes.saturating_sub(taken);
            if needs <= room && versions < self.limits.versions {
                return Ok(());
            }
            let is_free = |held: &Held| !keep.contains(&held.signed.manifest.release);
            // Of the same series first, where there are too many of that; otherwise the oldest of all.
            let crowded = versions >= self.limits.versions;
            let oldest = held.iter().rposition(|held| is_free(held) && (!crowded || of_series(&held)));
            match oldest {
                Some(oldest) => self.forget(&held.remove(oldest))?,
                None if needs <= room => return Ok(()),
                None => return Err(StoreError::NoRoom { needs, room }),
            }
        }
    }

    /// Forgets a release: what is fetched again must not lie there as if it were whole.
    pub fn forget(&self, held: &Held) -> Result<(), StoreError> {
        remove(&held.folder)
    }
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    // Renamed first, so that a power cut in the middle leaves nothing that seems whole.
    let gone = folder.with_extension("gone");
    let removed = match fs::rename(folder, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.and_then(|()| fs::remove_dir_all(&gone)),
    };
    removed.map_err(at(folder))
}

/// Writes a file and makes sure of it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Keeps the first root that the box was given, whole or not at all.
pub fn keep_root(place: &Path, root: &[u8]) -> io::Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = AtomicWriteFile::open(place)?;
    file.write_all(root)?;
    file.commit()
}
