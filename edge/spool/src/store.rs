//! The sled database itself: opening, setting a broken one aside, and a flush that reaches the disk.

use crate::error::SpoolError;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// sled's cache; its default is a gigabyte.
const CACHE: u64 = 16 << 20;
/// How long a lock may outlive its holder.
const UNLOCK: Duration = Duration::from_secs(5);

pub(crate) struct Store {
    pub(crate) db: sled::Db,
    /// sled's own flush on Linux is `sync_file_range`, which promises nothing about metadata.
    file: File,
}

impl Store {
    /// Opens the database. One that sled cannot open is renamed and a new one begun: the box must start.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<PathBuf>), SpoolError> {
        match Self::open_once_unlocked(path) {
            Ok(store) => Ok((store, None)),
            // A full or unwritable disk is no reason to give up what is on it.
            Err(Broken::Disk(error)) => Err(SpoolError::Disk(error)),
            Err(Broken::Database(why)) => {
                let aside = set_aside(path).map_err(SpoolError::Disk)?;
                tracing::error!(%why, aside = %aside.display(), "the spool could not be opened and was set aside");
                match Self::try_open(path) {
                    Ok(store) => Ok((store, Some(aside))),
                    Err(Broken::Disk(error)) => Err(SpoolError::Disk(error)),
                    Err(Broken::Database(why)) => Err(SpoolError::Database(why)),
                }
            }
        }
    }

    /// sled's own threads may hold the lock for a moment after the last handle was dropped, and a process that was
    /// just killed may take a moment to go.
    fn open_once_unlocked(path: &Path) -> Result<Self, Broken> {
        let deadline = Instant::now() + UNLOCK;
        loop {
            match Self::try_open(path) {
                Err(Broken::Disk(error)) if is_locked(&error) && Instant::now() < deadline => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a file lock gives no signal when it is released"
                    )]
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, Broken> {
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(500));
        // sled panics on some damage.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| Broken::Database("sled panicked while opening".to_owned()))?;
        let db = opened.map_err(|error| match error {
            sled::Error::Io(error) if is_about_the_disk(&error) => Broken::Disk(error),
            error => Broken::Database(error.to_string()),
        })?;
        let file = File::open(path.join("db")).map_err(Broken::Disk)?;
        Ok(Self { db, file })
    }

    /// Returns when everything written so far is on the disk.
    pub(crate) fn flush(&self) -> Result<(), SpoolError> {
        self.db.flush()?;
        self.file.sync_data().map_err(SpoolError::Disk)
    }
}

enum Broken {
    Disk(std::io::Error),
    Database(String),
}

/// What the operating system refuses says nothing about what is on the disk; what sled makes of the bytes does.
fn is_about_the_disk(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some() || is_locked(error)
}

/// sled reports a lock that another holds as `Other` with this text inside.
fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Renames a broken database. One such is kept for whoever wants to look into it; older ones make room.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    for older in set_aside_before(path)? {
        fs::remove_dir_all(older)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let aside = path.with_extension(format!("corrupt-{now}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn set_aside_before(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_stem()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.corrupt-", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
