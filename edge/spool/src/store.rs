//! The sled database itself: opening, setting a broken one aside, and a flush that reaches the disk.

use crate::block::{BLOCK_BYTES, BLOCK_RECORDS};
use crate::error::{SpoolError, is_locked, is_unreadable};
use noderr_protocol::MAX_RECORD;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The size of sled's cache, which would be a gigabyte by default.
const CACHE: u64 = 2 << 20;
/// The size of sled's segments. What is larger than a quarter of one is kept by sled in a file of its own that sled never
/// brings to the disk: after a power cut the whole database is unreadable. A leaf of the tree has up to 18 values, each of
/// them a block of records or a record of the largest size.
const SEGMENT: usize = 2 << 20;
const _: () =
    assert!(18 * (MAX_RECORD + 64) < SEGMENT / 4 && 18 * (BLOCK_BYTES + 64 * BLOCK_RECORDS) < SEGMENT / 4);
/// How long a lock may outlive its holder.
const UNLOCK: Duration = Duration::from_secs(5);

pub(crate) struct Store {
    pub(crate) db: sled::Db,
    /// The database's file, synced after sled's own flush: on Linux that is `sync_file_range`, which promises
    /// nothing about metadata.
    file: Arc<File>,
    segment: usize,
}

/// Brings what was written to the disk, without holding the store.
#[derive(Clone)]
pub(crate) struct Flusher {
    db: sled::Db,
    file: Arc<File>,
}

impl Flusher {
    /// Returns when everything written so far is on the disk.
    pub(crate) fn flush(&self) -> Result<(), SpoolError> {
        self.db.flush()?;
        self.file.sync_data().map_err(SpoolError::Disk)
    }
}

impl Store {
    /// Opens the database; success does not mean that everything in the database can be read.
    pub(crate) fn open(path: &Path) -> Result<Self, SpoolError> {
        let deadline = Instant::now() + UNLOCK;
        loop {
            match Self::try_open(path) {
                // sled's own threads may hold the lock for a moment after the last handle was dropped, and a process that
                // was just killed may take a moment to go.
                Err(SpoolError::Disk(error)) if is_locked(&error) && Instant::now() < deadline => {
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

    fn try_open(path: &Path) -> Result<Self, SpoolError> {
        let segment = segment_of(path).unwrap_or(SEGMENT);
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .segment_size(segment)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(500));
        let db = match catch_panic(|| Ok(config.open()?)) {
            Caught::Done(opened) => opened?,
            // There is no handle yet that could hold the lock, so the folder can be treated as any other that is unreadable.
            Caught::Panicked => return Err(SpoolError::Database(PANICKED.to_owned())),
        };
        match sync_folder(path).and_then(|()| File::open(path.join("db"))) {
            Ok(file) => Ok(Self { db, file: Arc::new(file), segment }),
            Err(error) => {
                close_quietly(db);
                Err(SpoolError::Disk(error))
            }
        }
    }

    /// Whether the database was made with the segments that [`SEGMENT`] says.
    pub(crate) const fn has_segments_of_today(&self) -> bool {
        self.segment == SEGMENT
    }

    /// What brings writes to the disk.
    pub(crate) fn flusher(&self) -> Flusher {
        Flusher { db: self.db.clone(), file: self.file.clone() }
    }
}

/// The segment size with which a database was made; sled opens the database with no other.
fn segment_of(path: &Path) -> Option<usize> {
    let conf = fs::read(path.join("conf")).ok()?;
    // Behind the lines is a checksum.
    String::from_utf8_lossy(&conf)
        .lines()
        .find_map(|line| line.strip_prefix("segment_size: "))?
        .trim()
        .parse()
        .ok()
}

/// Deletes what sled has written to open faster; returns whether there was anything.
pub(crate) fn forget_snapshots(path: &Path) -> io::Result<bool> {
    let mut any = false;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path())?;
            any = true;
        }
    }
    Ok(any)
}

/// Brings the files of a database, and their names, to the disk: sled writes some of them once, at the opening, and does not
/// wait for the disk. Without them nothing that is appended later could be read after a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(path)?.sync_all()?;
    sync_names(path)
}

/// Brings the name of a database to the disk.
fn sync_names(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Reads the whole database once before sled does, for two reasons. sled takes a sector that cannot be read for the end of
/// what was written and writes over everything behind it: such a database must not be opened. And a large database on a
/// slow disk takes minutes, in which `gets_on` says that something is happening.
pub(crate) fn read_through(path: &Path, gets_on: &dyn Fn()) -> Result<(), SpoolError> {
    let mut buffer = vec![0; 256 * 1024];
    for name in ["conf", "db"] {
        let file = match patiently(|| File::open(path.join(name))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(of_reading(error)),
        };
        // After a failed sync the kernel goes on to show what the disk never got. It drops that here, and reads the disk.
        fadvise(&file, 0, None, Advice::DontNeed).map_err(|error| SpoolError::Disk(error.into()))?;
        let mut at = 0;
        loop {
            gets_on();
            match patiently(|| file.read_at(&mut buffer, at)).map_err(of_reading)? {
                0 => break,
                len => at += len as u64,
            }
        }
    }
    Ok(())
}

/// Tries again where a disk does not give something back: many a disk does at the second or third time.
fn patiently<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut left = 3;
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_unreadable(&error) && left > 0 => left -= 1,
            done => return done,
        }
    }
}

fn of_reading(error: io::Error) -> SpoolError {
    if is_unreadable(&error) { SpoolError::Database(error.to_string()) } else { SpoolError::Disk(error) }
}

/// Runs an operation in which sled may panic: some damage makes sled panic, at the opening or at any later
/// read.
pub(crate) fn catch_panic<T>(operation: impl FnOnce() -> Result<T, SpoolError>) -> Caught<T> {
    catch_unwind(AssertUnwindSafe(operation)).map_or(Caught::Panicked, Caught::Done)
}

/// Drops a handle on the database; sled writes while it is dropped, and panics where the disk refuses that.
pub(crate) fn close_quietly<T>(handle: T) {
    let close = || {
        drop(handle);
        Ok(())
    };
    if let Caught::Panicked = catch_panic(close) {
        tracing::error!("sled panicked while it was closed");
    }
}

/// The outcome of an operation in which sled may panic.
pub(crate) enum Caught<T> {
    Done(Result<T, SpoolError>),
    Panicked,
}

pub(crate) const PANICKED: &str = "sled panicked over what is on the disk";

/// How long a broken database is kept for inspection.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Deletes broken databases that were set aside long ago, or all of them where their space is needed; returns the bytes that
/// the others take.
pub(crate) fn clear_set_aside(path: &Path, needed: bool) -> io::Result<u64> {
    let mut kept = 0;
    for aside in set_aside_before(path)? {
        let age = fs::metadata(&aside)?.modified()?.elapsed().unwrap_or_default();
        if needed || age > KEPT {
            tracing::warn!(aside = %aside.display(), "a broken spool that was set aside is deleted");
            fs::remove_dir_all(&aside)?;
        } else {
            kept += bytes_of(&aside)?;
        }
    }
    Ok(kept)
}

fn bytes_of(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}

/// Where a database is made whole before it takes the spool's place.
pub(crate) fn place_beside(path: &Path) -> PathBuf {
    path.with_extension("begun")
}

/// Where an emptied database goes before it is deleted: half of one could not be opened.
fn emptied(path: &Path) -> PathBuf {
    path.with_extension("emptied")
}

/// Puts a database that was made whole in the place of an emptied one, which [`clear_remains`] deletes.
pub(crate) fn replace(begun: &Path, path: &Path) -> io::Result<()> {
    remove_folder(&emptied(path))?;
    fs::rename(path, emptied(path))?;
    put_in_place(begun, path)
}

/// Puts a database that was made whole where there is none.
pub(crate) fn put_in_place(begun: &Path, path: &Path) -> io::Result<()> {
    fs::rename(begun, path)?;
    sync_names(path)
}

/// Ends what a power cut, or a disk that refused, has left between two databases: an emptied one was moved away only when the
/// one that follows it was whole.
pub(crate) fn clear_remains(path: &Path) -> io::Result<()> {
    if emptied(path).try_exists()? && !path.try_exists()? && place_beside(path).try_exists()? {
        put_in_place(&place_beside(path), path)?;
    }
    remove_folder(&emptied(path))?;
    remove_folder(&place_beside(path))
}

/// Deletes an emptied database that could not be deleted when it was replaced.
pub(crate) fn clear_emptied(path: &Path) -> io::Result<()> {
    if path.try_exists()? { remove_folder(&emptied(path)) } else { Ok(()) }
}

pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a broken database. The newest broken database is kept for inspection; older ones are deleted.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
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
