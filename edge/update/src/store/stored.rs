//! What lies in the store, and opening it: every byte is read and checked before anybody sees it.

use super::{ARTEFACT, MANIFEST, ManifestFile, StoreError, Stored, at};
use noderr_archive::{NotTheArtefact, check_artefact};
use noderr_part::{open_file, read_file};
use noderr_protocol::release::{Builders, MAX_MANIFEST, Manifest, ReleaseName};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// An artefact whose bytes were read to the end and are those that were signed and built: only [`Stored::open`] makes one.
#[derive(Debug)]
pub struct VerifiedArtefact {
    manifest: Manifest,
    file: File,
    path: PathBuf,
}

impl VerifiedArtefact {
    /// What it is.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes, from the beginning.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The same artefact, whose folder has moved.
    pub(super) fn moved_to(self, folder: &Path) -> Self {
        Self { path: folder.join(ARTEFACT), ..self }
    }

    /// Where they lie. Whoever opens the path anew reads what lies there then.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Stored {
    /// What lies in a folder, if it is a release. What the disk cannot read now may be one.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let place = folder.join(MANIFEST);
        let found = small(&place).and_then(|bytes| Ok((bytes, fs::metadata(&place)?.modified()?)));
        let (bytes, since) = match found {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidData
                ) =>
            {
                return Ok(None);
            }
            found => found?,
        };
        let Ok(says) = ManifestFile::read(bytes) else { return Ok(None) };
        let stored = Self { says, since, folder: folder.to_owned() };
        // The folder has the hash of the manifest in its name: another manifest was put there by nobody who may.
        Ok((stored.key() == Some(&stored.says.key())).then_some(stored))
    }

    /// The release.
    pub const fn release(&self) -> &ReleaseName {
        &self.says.manifest.release
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.says.manifest.content.bytes
    }

    /// The manifest in a folder, of something that is held or coming.
    pub(super) fn read_manifest(folder: &Path) -> Option<Manifest> {
        Manifest::read(&small(&folder.join(MANIFEST)).ok()?).ok()
    }

    /// Where its bytes lie.
    pub fn path(&self) -> PathBuf {
        self.folder.join(ARTEFACT)
    }

    /// Whether it is another version of the same.
    pub(crate) fn is_of_series(&self, signed: &ManifestFile) -> bool {
        self.says.manifest.release.series == signed.manifest.release.series
    }

    /// The file of its bytes, if the file has the length that the manifest says: nobody reads one without end.
    pub(super) fn file(&self) -> Result<File, StoreError> {
        let path = self.path();
        let file = open_file(&path).map_err(at(&path))?;
        if file.metadata().map_err(at(&path))?.len() != self.bytes() {
            return Err(NotTheArtefact::Mismatched.into());
        }
        Ok(file)
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.folder.file_name()?.to_str()
    }

    /// Opens the artefact, and reads and checks all of it: it is what the manifest says, and one of these builders has built it.
    pub fn open(&self, builders: &Builders) -> Result<VerifiedArtefact, StoreError> {
        let path = self.path();
        let mut file = self.file()?;
        let manifest = &self.says.manifest;
        check_artefact(BufReader::new(&file), manifest, builders)?;
        file.seek(SeekFrom::Start(0)).map_err(at(&path))?;
        Ok(VerifiedArtefact { manifest: manifest.clone(), file, path })
    }
}

/// The bytes of a manifest.
fn small(path: &Path) -> io::Result<Vec<u8>> {
    read_file(path, MAX_MANIFEST as u64)
}
