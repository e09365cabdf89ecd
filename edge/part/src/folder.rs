//! The data folder: everything that must survive a power cut, used by one node at a time.

use crate::disk::Ledger;
use crate::pulse::{Pulse, SLOW_DISK};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinError;

/// An open data folder; locked for as long as the value lives.
pub struct Folder {
    root: PathBuf,
    /// Knows of all work that waits for the disk.
    pulse: Pulse,
    /// Told of what the parts may take of the disk.
    ledger: Ledger,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system refused.
    #[error("cannot use the data folder {path}: {why}", path = path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another noderr-node uses {path}", path = .0.display())]
    InUse(PathBuf),
}

impl Folder {
    /// Creates the folder if needed and takes its lock.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let unusable = |why| FolderError::Unusable { path: root.to_owned(), why };
        // A disk that can no longer be written to must not keep the box from starting: a folder that is there is enough, and
        // the folder itself is what is locked.
        if !fs::exists(root).map_err(unusable)? {
            DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(unusable)?;
        }
        let lock = File::open(root).map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(FolderError::InUse(root.to_owned())),
            Err(error) => return Err(unusable(error.into())),
        }
        Ok(Self { root: root.to_owned(), pulse: Pulse::default(), ledger: Ledger::default(), _lock: lock })
    }

    /// The pulse, which knows of all work that waits for the disk, and of whatever else must end.
    pub const fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The ledger of the disk that the folder is on.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Runs `work`, which may have to wait for the disk, away from the thread on which everything else waits,
    /// and in sight of the watchdog.
    pub async fn on_disk<T: Send + 'static, E: From<JoinError> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (folder, _busy) = (self.clone(), self.pulse.busy(SLOW_DISK));
        tokio::task::spawn_blocking(move || work(&folder)).await?
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
