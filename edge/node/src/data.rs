//! The data folder: what lies where, and that only one node uses it.

use crate::pulse::Pulse;
use anyhow::Context as _;
use atomic_write_file::AtomicWriteFile;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open data folder; locked for as long as the value lives.
pub(crate) struct DataFolder {
    root: PathBuf,
    /// Told of what waits for the disk.
    pulse: Pulse,
    _lock: File,
}

impl DataFolder {
    /// Creates it if needed and takes the lock.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .with_context(|| format!("cannot create the data folder {}", root.display()))?;
        let path = root.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another noderr-node uses {}", root.display()))?;
        Ok(Self { root: root.to_owned(), pulse: Pulse::default(), _lock: lock })
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Does what may have to wait for the disk away from the thread on which everything else waits, and in sight of the
    /// watchdog.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (data, _busy) = (self.clone(), self.pulse.busy());
        tokio::task::spawn_blocking(move || work(&data)).await?
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn enrolment(&self) -> PathBuf {
        self.root.join("enrolment.json")
    }

    pub(crate) fn software_key(&self) -> PathBuf {
        self.root.join("software.key")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Gives the space back that the spool has set aside beside itself.
    pub(crate) fn give_up_reserve(&self) -> std::io::Result<()> {
        fs::remove_file(self.spool().with_extension("reserve"))
    }

    /// Reads a small JSON document; `None` where there is none or it cannot be understood.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.root.join(name);
        let text = fs::read(&path).ok()?;
        match serde_json::from_slice(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a damaged file is ignored");
                None
            }
        }
    }

    /// Writes a small JSON document, whole or not at all.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let path = self.root.join(name);
        let mut file = AtomicWriteFile::open(&path)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.commit().with_context(|| format!("cannot write {}", path.display()))
    }
}
