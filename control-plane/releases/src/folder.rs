//! The folder of what is published: `metadata/` and `targets/`, as servers hand them out and as they travel on a stick.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::metadata::{Metadata, TargetFile, Timestamp};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
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
        self.published(role, version)
    }

    /// A published version of a role.
    pub fn published<M: Metadata>(&self, role: &str, version: u64) -> Result<Option<Draft<M>>, ReleaseError> {
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

    /// The draft of a role, if somebody has begun one.
    pub fn draft<M: Metadata>(&self, role: &str) -> Result<Option<Draft<M>>, ReleaseError> {
        read(self.drafts().join(format!("{role}.json")))
    }

    /// Writes a draft down, in place of the one before.
    pub fn put_draft<M: Metadata>(&self, role: &str, draft: &Draft<M>) -> Result<(), ReleaseError> {
        let (folder, name) = (self.drafts(), format!("{role}.json.new"));
        remove(&folder.join(&name))?;
        create(&folder, &name, &draft.to_bytes()?)?;
        let path = folder.join(format!("{role}.json"));
        let replaced = fs::rename(folder.join(name), &path).and_then(|()| sync(&folder));
        replaced.map_err(|why| ReleaseError::Io { path, why })
    }

    /// Forgets a draft.
    pub fn remove_draft(&self, role: &str) -> Result<(), ReleaseError> {
        remove(&self.drafts().join(format!("{role}.json")))
    }

    /// Where drafts are: beside what is handed out.
    fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    /// Where a target is.
    pub(crate) fn place_of(&self, name: &str, hash: &str) -> PathBuf {
        match name.rsplit_once('/') {
            Some((folder, last)) => self.targets().join(folder).join(format!("{hash}.{last}")),
            None => self.targets().join(format!("{hash}.{name}")),
        }
    }

    /// Puts a target where servers hand it out: under its name, with its hash before the last part.
    pub fn put_target(&self, name: &str, mut bytes: impl Read) -> Result<TargetFile, ReleaseError> {
        let (folder, last) = match name.rsplit_once('/') {
            Some((folder, last)) => (self.targets().join(folder), last),
            None => (self.targets(), name),
        };
        let failed = |why| ReleaseError::Io { path: folder.join(last), why };
        fs::create_dir_all(&folder).map_err(failed)?;
        // Under which name a target goes is known when all of it was read once.
        let unfinished = folder.join(format!(".{last}.unfinished"));
        let mut copy = || {
            let mut file = Hashing { file: File::create(&unfinished)?, digest: Sha256::new(), length: 0 };
            io::copy(&mut bytes, &mut file)?;
            file.file.sync_all()?;
            let hash = hex::encode(file.digest.finalize());
            fs::rename(&unfinished, folder.join(format!("{hash}.{last}")))?;
            sync(&folder)?;
            Ok(TargetFile::of(file.length, hash))
        };
        copy().map_err(failed)
    }
}

/// Writes a file, and counts and hashes what goes into it.
struct Hashing {
    file: File,
    digest: Sha256,
    length: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn read<M: Metadata>(path: PathBuf) -> Result<Option<Draft<M>>, ReleaseError> {
    match fs::read(&path) {
        Ok(bytes) => {
            let read = serde_json::from_slice::<Draft<M>>(&bytes).map_err(|error| error.to_string());
            let sound = read.and_then(|draft| draft.says().check().map(|()| Some(draft)));
            sound.map_err(|why| ReleaseError::Unreadable { path, why })
        }
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
