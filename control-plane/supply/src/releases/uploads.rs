//! Archives arrive part by part: an upload that was interrupted goes on where it was. Each person's and each token's
//! parts are their own: nobody adds to, spoils or counts against what another has begun, and a stolen token keeps its owner from nothing. What is whole and has the hash that it goes by becomes an
//! object.

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
use uuid::Uuid;

/// How long an upload may wait for its next part.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How many uploads one person or token may have begun at a time, and what all of them leave free of the disk.
const MOST: usize = 16;
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

/// An upload: which person or token has begun it, and of which archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    pub(super) owner: Uuid,
    pub(super) archive: HexDigest,
}

impl Upload {
    /// The archive as the store calls it.
    fn object(&self) -> String {
        hex::encode(self.archive.0)
    }

    /// Where its parts arrive.
    fn file(&self) -> String {
        format!("{}.{}", self.object(), self.owner)
    }
}

/// The uploads at this instance. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Uploads {
    folder: PathBuf,
    objects: Objects,
    largest_gib: u64,
    /// The lengths of what was begun, by the files. Held by whoever writes a part: two parts of one upload would meet.
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

    /// How far an upload is.
    pub(super) async fn progress(&self, upload: &Upload) -> Result<Progress, Problem> {
        let file = upload.file();
        let is_checked = self.checked().contains(&file);
        if self.objects.length(&upload.object()).await.map_err(unusable)?.is_some() {
            return Ok(Progress::Stored);
        }
        let begun = fs::metadata(self.folder.join(file)).map_or(0, |file| file.len());
        Ok(if is_checked { Progress::Checking(begun) } else { Progress::Begun(begun) })
    }

    /// Takes a part that begins at `offset` of an archive of `length` bytes.
    pub(super) async fn take(
        &self,
        upload: &Upload,
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
        let file = upload.file();
        match self.progress(upload).await? {
            // The length is said once.
            Progress::Begun(begun)
                if begun > 0 && begun_lengths.get(&file).is_some_and(|was| *was != length) =>
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
        let (path, this, upload) = (self.folder.join(&file), self.clone(), *upload);
        // Goes on to its end whoever waits: the next part finds the file as this one leaves it.
        let written = spawn_blocking(move || {
            this.make_sure_of_room(length - offset)?;
            begun_lengths.retain(|file, _| this.folder.join(file).exists());
            let of_owner = format!(".{}", upload.owner);
            let begun =
                begun_lengths.keys().filter(|begun| begun.ends_with(&of_owner) && **begun != file).count();
            if offset == 0 && begun >= MOST {
                let why = format!("you have begun {MOST}: end one, give one up, or wait for a day");
                return Err(TOO_MANY.because(why));
            }
            begun_lengths.insert(file.clone(), length);
            append(&path, offset, &part).map_err(unusable)?;
            // From now on nobody adds to it.
            let is_whole = end == length && this.checked().insert(file);
            drop(begun_lengths);
            Ok(is_whole)
        });
        // So does what follows from it: else nobody would check what is noted as being checked.
        let this = self.clone();
        let goes_on = tokio::spawn(async move {
            if written.await.map_err(unusable)?? {
                return this.end(&upload, length).await;
            }
            this.progress(&upload).await
        });
        goes_on.await.map_err(unusable)?
    }

    /// Gives up what was begun of an archive.
    pub(super) async fn give_up(&self, upload: &Upload) -> Result<(), Problem> {
        let begun_lengths = self.writing.clone().lock_owned().await;
        let (this, file) = (self.clone(), upload.file());
        let removed = spawn_blocking(move || {
            let _nobody_writes = begun_lengths;
            if this.checked().contains(&file) {
                return Err(
                    ANOTHER_PART.because("all of the archive is here, and is being checked".to_owned())
                );
            }
            match fs::remove_file(this.folder.join(file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(error)),
                _ => Ok(()),
            }
        });
        removed.await.map_err(unusable)?
    }

    /// Leaves room for what else lives on the disk, on which all that is still to come of an archive must fit.
    fn make_sure_of_room(&self, bytes: u64) -> Result<(), Problem> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| unusable(io::Error::from(error)))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(LEFT_FREE) {
            return Err(NO_ROOM.because(format!(
                "{bytes} bytes are still to come, and {} are free beside the {} MiB that stay so",
                free.saturating_sub(LEFT_FREE),
                LEFT_FREE >> 20
            )));
        }
        Ok(())
    }

    /// Checks and stores what is whole and is noted as being checked, however long that takes and whoever waits for it.
    async fn end(&self, upload: &Upload, length: u64) -> Result<Progress, Problem> {
        let (this, upload) = (self.clone(), *upload);
        let ending = tokio::spawn(async move {
            let store = this.clone();
            let stored = tokio::spawn(async move { store.store(&upload).await }).await;
            this.checked().remove(&upload.file());
            let stored = stored.map_err(NotStored::from).flatten();
            if let Err(error) = &stored {
                tracing::warn!(%error, archive = upload.object(), "an upload does not become an archive");
            }
            stored
        });
        match timeout(PATIENCE, ending).await {
            Err(_) => Ok(Progress::Checking(length)),
            Ok(stored) => match stored.map_err(unusable)? {
                Ok(()) => Ok(Progress::Stored),
                Err(NotStored::Mismatched) => Err(NOT_THE_ARCHIVE
                    .because("the upload begins anew: what has come has another hash than its name")),
                Err(NotStored::Objects(error)) if error.is_full() => {
                    Err(NO_ROOM.because(format!("the archive is here, and cannot be stored: {error}")))
                }
                Err(error) => Err(unusable(error)),
            },
        }
    }

    async fn store(&self, upload: &Upload) -> Result<(), NotStored> {
        let path = self.folder.join(upload.file());
        let file = path.clone();
        if spawn_blocking(move || hash(&file)).await?? != upload.archive.0 {
            remove(&path);
            return Err(NotStored::Mismatched);
        }
        self.objects.adopt(&upload.object(), &path, LEFT_FREE).await?;
        self.end_others(upload.object()).await
    }

    /// Removes what others have begun of an archive that is stored.
    async fn end_others(&self, object: String) -> Result<(), NotStored> {
        let begun_lengths = self.writing.clone().lock_owned().await;
        let (this, others) = (self.clone(), format!("{object}."));
        let removed = spawn_blocking(move || {
            let _nobody_writes = begun_lengths;
            for entry in fs::read_dir(&this.folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                // What is being checked ends by itself.
                if name.starts_with(&others) && !this.checked().contains(&name) {
                    remove(&this.folder.join(name));
                }
            }
            Ok(())
        });
        removed.await?
    }

    /// Removes uploads that nobody goes on with. Waits for the disk.
    pub(super) fn forget(&self, now: SystemTime) -> io::Result<usize> {
        let mut gone = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // What has become an archive meanwhile is gone.
            let begun = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found?.modified()?,
            };
            if now.duration_since(begun).unwrap_or_default() > LONGEST {
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
