//! The folder of what is published: `metadata/` and `targets/`, as servers hand them out and as they travel on a stick.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::metadata::{Metadata, Timestamp, sha256};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A folder of published releases.
#[derive(Debug, Clone)]
pub struct ReleaseFolder {
    root: PathBuf,
}

impl ReleaseFolder {
    /// The folder at a path, which need not be there yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where metadata is.
    pub fn metadata(&self) -> PathBuf {
        self.root.join("metadata")
    }

    /// Where targets are.
    pub fn targets(&self) -> PathBuf {
        self.root.join("targets")
    }

    /// The newest published version of a role.
    pub fn newest<M: Metadata>(&self, role: &str) -> Result<Option<Draft<M>>, ReleaseError> {
        let Some(version) = self.newest_version(role)? else { return Ok(None) };
        read(self.metadata().join(format!("{version}.{role}.json")))
    }

    /// The newest version of a role, by the names of the files.
    pub fn newest_version(&self, role: &str) -> Result<Option<u64>, ReleaseError> {
        let folder = self.metadata();
        let failed = |why| ReleaseError::Io { path: folder.clone(), why };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(failed)?,
        };
        let suffix = format!(".{role}.json");
        let mut newest = None;
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let version = name.to_str().and_then(|name| name.strip_suffix(&suffix)?.parse::<u64>().ok());
            newest = newest.max(version);
        }
        Ok(newest)
    }

    /// Publishes a version of a role, which is never replaced afterwards.
    pub fn publish<M: Metadata>(&self, role: &str, draft: &Draft<M>) -> Result<(), ReleaseError> {
        let version = draft.says().version();
        let name = format!("{version}.{role}.json");
        match create(&self.metadata(), &name, &draft.to_bytes()?) {
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::AlreadyExists => {
                Err(ReleaseError::Published { role: role.to_owned(), version })
            }
            done => done,
        }
    }

    /// Replaces `timestamp.json`, which alone has no version in its name: it is where everybody begins.
    pub fn publish_timestamp(&self, draft: &Draft<Timestamp>) -> Result<(), ReleaseError> {
        let folder = self.metadata();
        remove(&folder.join("timestamp.json.new"))?;
        create(&folder, "timestamp.json.new", &draft.to_bytes()?)?;
        let path = folder.join("timestamp.json");
        let replaced = fs::rename(folder.join("timestamp.json.new"), &path).and_then(|()| sync(&folder));
        replaced.map_err(|why| ReleaseError::Io { path, why })
    }

    /// The newest timestamp.
    pub fn timestamp(&self) -> Result<Option<Draft<Timestamp>>, ReleaseError> {
        read(self.metadata().join("timestamp.json"))
    }

    /// Puts a target where servers hand it out: under its name, with its hash before the last part.
    pub fn put_target(&self, name: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
        let (folder, last) = match name.rsplit_once('/') {
            Some((folder, last)) => (self.targets().join(folder), last),
            None => (self.targets(), name),
        };
        match create(&folder, &format!("{}.{last}", sha256(bytes)), bytes) {
            // The name says what is in it.
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }
}

fn read<M: Metadata>(path: PathBuf) -> Result<Option<Draft<M>>, ReleaseError> {
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ReleaseError::Unreadable { path, why: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(ReleaseError::Io { path, why }),
    }
}

/// Removes what a power cut may have left.
fn remove(path: &Path) -> Result<(), ReleaseError> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            Err(ReleaseError::Io { path: path.to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// Creates a file that is whole on the disk, or not there.
fn create(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
    let path = folder.join(name);
    let write = || {
        fs::create_dir_all(folder)?;
        let unfinished = folder.join(format!(".{name}.unfinished"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A link does not replace what is there, as a renamed file would.
        let linked = fs::hard_link(&unfinished, &path);
        fs::remove_file(&unfinished)?;
        linked?;
        sync(folder)
    };
    write().map_err(|why| ReleaseError::Io { path, why })
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
