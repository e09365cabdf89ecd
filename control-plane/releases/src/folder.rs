//! The folder of releases: `metadata/` and `targets/` are what is in force, as servers hand it out and as it travels on a stick;
//! `drafts/` is what is prepared.

use crate::ReleaseError;
use crate::digest::sha256;
use crate::metadata::{Metadata, TargetFile, Timestamp};
use crate::signed::SignedMetadata;
use noderr_protocol::release::{TIMESTAMP_FILE, metadata_file, target_file};
use rand_core::{OsRng, RngCore as _};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, open, renameat_with};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A folder of releases.
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

    /// The newest version of a role that is in force.
    pub fn newest<M: Metadata>(&self, role: &str) -> Result<Option<SignedMetadata<M>>, ReleaseError> {
        let Some(version) = self.newest_version(role)? else { return Ok(None) };
        self.version(role, version)
    }

    /// A version of a role that is or was in force.
    pub fn version<M: Metadata>(
        &self,
        role: &str,
        version: u64,
    ) -> Result<Option<SignedMetadata<M>>, ReleaseError> {
        let path = self.metadata().join(metadata_file(role, version));
        let read: Option<SignedMetadata<M>> = read(path.clone())?;
        match read.as_ref().map(|draft| draft.says().version()) {
            Some(says) if says != version => {
                Err(ReleaseError::Unreadable { path, why: format!("it says that it is version {says}") })
            }
            _ => Ok(read),
        }
    }

    /// The newest version of a role, by the names of the files.
    pub fn newest_version(&self, role: &str) -> Result<Option<u64>, ReleaseError> {
        Ok(self.versions(role)?.last().copied())
    }

    /// The versions of a role that are or were in force, the oldest first. A file of a number far ahead is one more, and no reason to count up
    /// to it.
    pub(crate) fn versions(&self, role: &str) -> Result<BTreeSet<u64>, ReleaseError> {
        let folder = self.metadata();
        let failed = |why| ReleaseError::Io { path: folder.clone(), why };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(failed)?,
        };
        let suffix = format!(".{role}.json");
        let mut versions = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let version = name.to_str().and_then(|name| name.strip_suffix(&suffix)?.parse::<u32>().ok());
            // A number is written in one way.
            let version = version.filter(|version| name.to_str() == Some(&format!("{version}{suffix}")));
            versions.extend(version.map(u64::from));
        }
        Ok(versions)
    }

    /// Puts a version of a role in force, which is never replaced afterwards.
    pub fn put<M: Metadata>(&self, role: &str, draft: &SignedMetadata<M>) -> Result<(), ReleaseError> {
        let version = draft.says().version();
        let name = metadata_file(role, version);
        match create(&self.metadata(), &name, &draft.to_bytes()?) {
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::AlreadyExists => {
                Err(ReleaseError::InForce { role: role.to_owned(), version })
            }
            done => done,
        }
    }

    /// The bytes of the newest version of a role that is in force.
    pub fn newest_bytes(&self, role: &str) -> Result<Option<(u64, Vec<u8>)>, ReleaseError> {
        let version = match role {
            "timestamp" => self.timestamp()?.map(|timestamp| timestamp.says().version()),
            role => self.newest_version(role)?,
        };
        let Some(version) = version else { return Ok(None) };
        let path = self.metadata().join(metadata_file(role, version));
        let read = read_bytes(&path).map_err(|why| ReleaseError::Io { path, why })?;
        Ok(read.map(|bytes| (version, bytes)))
    }

    /// Replaces `timestamp.json`, which alone has no version in its name: it is where everybody begins.
    pub fn put_timestamp(&self, draft: &SignedMetadata<Timestamp>) -> Result<(), ReleaseError> {
        replace(&self.metadata(), TIMESTAMP_FILE, &draft.to_bytes()?)
    }

    /// The newest timestamp.
    pub fn timestamp(&self) -> Result<Option<SignedMetadata<Timestamp>>, ReleaseError> {
        read(self.metadata().join(TIMESTAMP_FILE))
    }

    /// The draft of a role, if somebody has begun one.
    pub fn draft<M: Metadata>(&self, role: &str) -> Result<Option<SignedMetadata<M>>, ReleaseError> {
        read(self.drafts().join(format!("{role}.json")))
    }

    /// Writes a draft down, in place of the one before; not one that nobody could read again.
    pub fn put_draft<M: Metadata>(&self, role: &str, draft: &SignedMetadata<M>) -> Result<(), ReleaseError> {
        draft.says().check().map_err(|why| ReleaseError::Unwritable(format!("{role}: {why}")))?;
        replace(&self.drafts(), &format!("{role}.json"), &draft.to_bytes()?)
    }

    /// Forgets a draft.
    pub(crate) fn remove_draft(&self, role: &str) -> Result<(), ReleaseError> {
        remove(&self.drafts().join(format!("{role}.json")))
    }

    pub(crate) fn draft_bytes(&self, role: &str) -> Result<Option<Vec<u8>>, ReleaseError> {
        let path = self.drafts().join(format!("{role}.json"));
        read_bytes(&path).map_err(|why| ReleaseError::Io { path, why })
    }

    /// The bytes of a version of a role that is or was in force.
    pub fn bytes(&self, role: &str, version: u64) -> Result<Option<Vec<u8>>, ReleaseError> {
        let path = self.metadata().join(metadata_file(role, version));
        read_bytes(&path).map_err(|why| ReleaseError::Io { path, why })
    }

    /// Where drafts are: beside what is handed out.
    fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    /// Where a target is.
    pub(crate) fn place_of(&self, name: &str, hash: &str) -> PathBuf {
        self.targets().join(target_file(name, hash))
    }

    /// Puts a target where servers hand it out: under its name, with its hash before the last part.
    pub fn put_target(&self, name: &str, bytes: &[u8]) -> Result<TargetFile, ReleaseError> {
        let file = TargetFile::of(bytes.len() as u64, sha256(bytes));
        let place = self.place_of(name, file.hashes.get("sha256").map_or("", String::as_str));
        let (Some(folder), Some(last)) = (place.parent(), place.file_name().and_then(OsStr::to_str)) else {
            return Err(ReleaseError::Unwritable(name.to_owned()));
        };
        match create(folder, last, bytes) {
            // It has its hash in its name: what is there is the same.
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::AlreadyExists => Ok(file),
            created => created.map(|()| file),
        }
    }

    /// Writes a target in place of one that is damaged.
    pub(crate) fn replace_target(
        &self,
        name: &str,
        file: &TargetFile,
        bytes: &[u8],
    ) -> Result<(), ReleaseError> {
        let place = self.place_of(name, file.hashes.get("sha256").map_or("", String::as_str));
        match (place.parent(), place.file_name().and_then(OsStr::to_str)) {
            (Some(folder), Some(last)) => replace(folder, last, bytes),
            _ => Err(ReleaseError::Unwritable(name.to_owned())),
        }
    }

    /// Refuses a folder with links in it, which comes from strangers: what is written there would be written elsewhere.
    pub fn refuse_links(&self) -> Result<(), ReleaseError> {
        [self.metadata(), self.targets(), self.objects(), self.drafts()]
            .iter()
            .try_for_each(|path| refuse_links(path))
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Metadata that is larger than this is none of ours.
const LARGEST: u64 = 4 << 20;

/// Opens a file for reading, and nothing but a file: a stick may hold links, and pipes that nobody writes to.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    plain(path, OFlags::RDONLY)
}

/// Opens a file for adding to its end, which is made if it is not there, and nothing but a file.
pub(crate) fn append_file(path: &Path) -> io::Result<File> {
    plain(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}

fn plain(path: &Path, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::from(0o644)) {
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(no_file()),
        file => File::from(file?),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    io::Error::other("it is no file, or too large")
}

/// The bytes of a file, if it is there.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() > LARGEST {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn refuse_links(path: &Path) -> Result<(), ReleaseError> {
    let io = |why| ReleaseError::Io { path: path.to_owned(), why };
    let found = match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io)?,
    };
    if found.is_symlink() {
        return Err(io(io::Error::other("it is a link, which would lead elsewhere; remove it")));
    }
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(io)? {
            refuse_links(&entry.map_err(io)?.path())?;
        }
    }
    Ok(())
}

fn read<M: Metadata>(path: PathBuf) -> Result<Option<SignedMetadata<M>>, ReleaseError> {
    match read_bytes(&path) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => {
            SignedMetadata::read(&bytes).map(Some).map_err(|why| ReleaseError::Unreadable { path, why })
        }
        Err(why) => Err(ReleaseError::Io { path, why }),
    }
}

/// Removes what a power cut may have left.
pub(crate) fn remove(path: &Path) -> Result<(), ReleaseError> {
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
        let (unfinished, mut file) = begin(folder)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let renamed = rename_to_new(&unfinished, &path);
        if renamed.is_err() {
            fs::remove_file(&unfinished)?;
        }
        renamed?;
        sync(folder)
    };
    write().map_err(|why| ReleaseError::Io { path, why })
}

/// Writes a file in place of the one before, which is there until the new one is whole.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
    let (new, path) = (format!("{name}.new"), folder.join(name));
    remove(&folder.join(&new))?;
    create(folder, &new, bytes)?;
    let replaced = fs::rename(folder.join(new), &path).and_then(|()| sync(folder));
    replaced.map_err(|why| ReleaseError::Io { path, why })
}

/// A file of a name that nobody has prepared a link for.
pub(crate) fn begin(folder: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0; 8];
    OsRng.fill_bytes(&mut random);
    let path = folder.join(format!(".{}.unfinished", hex::encode(random)));
    Ok((path.clone(), File::options().read(true).write(true).create_new(true).open(path)?))
}

/// Renames a file where nothing may be yet.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system of a stick knows this.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
