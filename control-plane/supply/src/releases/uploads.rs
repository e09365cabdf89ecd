//! Archives arrive part by part: an upload that was interrupted goes on where it was. What is whole and has the hash that it
//! goes by becomes an object.

use super::terms::{ANOTHER_PART, NO_ROOM, NOT_THE_ARCHIVE, TOO_LARGE, TOO_MANY};
use noderr_kernel::Problem;
use noderr_objects::{Objects, ObjectsError};
use noderr_protocol::HexDigest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

/// How long an upload may wait for its next part.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How many uploads may be begun at a time, and what they leave free of the disk.
const MOST: usize = 32;
const LEFT_FREE: u64 = 512 << 20;
/// How long a request waits for the check of a whole archive, which goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far an upload is.
pub(super) enum Progress {
    /// So many bytes are here.
    Begun(u64),
    /// All bytes are here, and are being checked.
    Checking(u64),
    /// All of it is stored.
    Stored,
}

/// The uploads at this instance. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Uploads {
    folder: PathBuf,
    objects: Objects,
    largest_gib: u64,
    /// The lengths of what was begun. Held by whoever writes a part: two of one archive would meet.
    writing: Arc<tokio::sync::Mutex<BTreeMap<String, u64>>>,
    checking: Arc<Mutex<BTreeSet<String>>>,
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::from(anyhow::Error::from(error))
}

impl Uploads {
    /// The uploads in a folder, which become these objects.
    pub(crate) fn open(folder: PathBuf, objects: Objects, largest_gib: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, objects, largest_gib, writing: Arc::default(), checking: Arc::default() })
    }

    fn checked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.checking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the upload of an archive is.
    pub(super) async fn progress(&self, archive: &HexDigest) -> Result<Progress, Problem> {
        let name = hex::encode(archive.0);
        let is_checked = self.checked().contains(&name);
        if self.objects.length(&name).await.map_err(unusable)?.is_some() {
            return Ok(Progress::Stored);
        }
        let begun = fs::metadata(self.folder.join(name)).map_or(0, |file| file.len());
        Ok(if is_checked { Progress::Checking(begun) } else { Progress::Begun(begun) })
    }

    /// Takes a part that begins at `offset` of an archive of `length` bytes.
    pub(super) async fn take(
        &self,
        archive: &HexDigest,
        (offset, length): (u64, u64),
        part: bytes::Bytes,
    ) -> Result<Progress, Problem> {
        if length > self.largest_gib << 30 {
            return Err(TOO_LARGE.because(format!(
                "an archive may have {} GiB here; see releases.archive_gib",
                self.largest_gib
            )));
        }
        let mut begun_lengths = self.writing.clone().lock_owned().await;
        let name = hex::encode(archive.0);
        match self.progress(archive).await? {
            // The length is said once: nobody else ends what one has begun.
            Progress::Begun(begun)
                if begun > 0 && begun_lengths.get(&name).is_some_and(|was| *was != length) =>
            {
                return Err(ANOTHER_PART.because("the archive was begun with another length".to_owned()));
            }
            Progress::Begun(begun) if begun == offset => {}
            Progress::Begun(begun) => {
                return Err(
                    ANOTHER_PART.because(format!("{begun} bytes of the archive are here: go on there"))
                );
            }
            further => return Ok(further),
        }
        let end = offset + part.len() as u64;
        let (path, this) = (self.folder.join(&name), self.clone());
        // Goes on to its end whoever waits: the next part finds the file as this one leaves it.
        let written = spawn_blocking(move || {
            this.make_sure_of_room(part.len() as u64).map_err(|why| match why.kind() {
                ErrorKind::StorageFull => NO_ROOM.because("archives are taken when there is room".to_owned()),
                _ => unusable(why),
            })?;
            begun_lengths.retain(|name, _| this.folder.join(name).exists());
            if offset == 0 && begun_lengths.len() >= MOST {
                return Err(TOO_MANY.because(format!("{MOST} are begun: end one of them, or wait for a day")));
            }
            begun_lengths.insert(name.clone(), length);
            append(&path, offset, &part).map_err(unusable)?;
            // From now on nobody adds to it.
            let is_whole = end == length && this.checked().insert(name);
            drop(begun_lengths);
            Ok(is_whole)
        });
        // So does what follows from it: else nobody would check what is noted as being checked.
        let (this, archive) = (self.clone(), *archive);
        let goes_on = tokio::spawn(async move {
            if written.await.map_err(unusable)?? {
                return this.end(&archive, length).await;
            }
            this.progress(&archive).await
        });
        goes_on.await.map_err(unusable)?
    }

    /// Leaves room for what else lives on the disk.
    fn make_sure_of_room(&self, bytes: u64) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes + LEFT_FREE {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Checks and stores what is whole and is noted as being checked, however long that takes and whoever waits for it.
    async fn end(&self, archive: &HexDigest, length: u64) -> Result<Progress, Problem> {
        let (this, expected, name) = (self.clone(), *archive, hex::encode(archive.0));
        let ending = tokio::spawn(async move {
            let (store, stored_as) = (this.clone(), name.clone());
            let stored = tokio::spawn(async move { store.store(&stored_as, &expected).await }).await;
            this.checked().remove(&name);
            let stored = stored.map_err(NotStored::from).flatten();
            if let Err(error) = &stored {
                tracing::warn!(%error, archive = name, "an upload does not become an archive");
            }
            stored
        });
        match timeout(PATIENCE, ending).await {
            Err(_) => Ok(Progress::Checking(length)),
            Ok(stored) => match stored.map_err(unusable)? {
                Ok(()) => Ok(Progress::Stored),
                Err(NotStored::Mismatched) => Err(NOT_THE_ARCHIVE
                    .because("the upload begins anew: what has come has another hash than its name")),
                Err(error) => Err(unusable(error)),
            },
        }
    }

    async fn store(&self, name: &str, expected: &HexDigest) -> Result<(), NotStored> {
        let path = self.folder.join(name);
        let file = path.clone();
        if spawn_blocking(move || hash(&file)).await?? != expected.0 {
            remove(&path);
            return Err(NotStored::Mismatched);
        }
        self.objects.put(name, &path).await?;
        remove(&path);
        Ok(())
    }

    /// Removes uploads that nobody goes on with. Waits for the disk.
    pub(super) fn forget(&self, now: SystemTime) -> io::Result<usize> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
            if age > LONGEST {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => gone += 1,
                }
            }
        }
        Ok(gone)
    }
}

/// Why what has come is not stored.
#[derive(Debug, thiserror::Error)]
enum NotStored {
    #[error("it has another hash than its name")]
    Mismatched,
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Ended(#[from] JoinError),
}

fn append(path: &Path, offset: u64, part: &[u8]) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    if let Err(error) = file.write_all(part) {
        // Half of a part would stand where the next one begins.
        file.set_len(offset)?;
        return Err(error);
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().into())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "an upload is left behind");
    }
}
