//! Archives arrive part by part: an upload that was interrupted goes on where it was. What is whole and has the hash that it
//! goes by becomes an object.

use super::terms::{ANOTHER_PART, NOT_THE_ARCHIVE, TOO_LARGE};
use crate::state::Supply;
use noderr_kernel::Problem;
use noderr_protocol::HexDigest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long an upload may wait for its next part.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How far an upload is.
pub(super) enum Progress {
    /// So many bytes are here.
    Begun(u64),
    /// All of it is stored.
    Stored,
}

/// How far the upload of an archive is.
pub(super) async fn progress(supply: &Supply, archive: &HexDigest) -> Result<Progress, Problem> {
    let name = hex::encode(archive.0);
    if supply.objects.length(&name).await.map_err(unusable)?.is_some() {
        return Ok(Progress::Stored);
    }
    let begun = fs::metadata(supply.uploads.join(name)).map_or(0, |file| file.len());
    Ok(Progress::Begun(begun))
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::from(anyhow::Error::from(error))
}

/// Takes a part that begins at `offset` of an archive of `length` bytes.
pub(super) async fn take(
    supply: &Supply,
    archive: &HexDigest,
    (offset, length): (u64, u64),
    part: bytes::Bytes,
) -> Result<Progress, Problem> {
    if length > supply.settings.archive_gib << 30 {
        return Err(TOO_LARGE.because(format!(
            "an archive may have {} GiB here; see releases.archive_gib",
            supply.settings.archive_gib
        )));
    }
    if let Progress::Stored = progress(supply, archive).await? {
        return Ok(Progress::Stored);
    }
    let name = hex::encode(archive.0);
    let path = supply.uploads.join(&name);
    let end = offset + part.len() as u64;
    let (file, expected) = (path.clone(), *archive);
    let written = tokio::task::spawn_blocking(move || {
        append(&file, offset, &part)?;
        if end < length { Ok(None) } else { hash(&file).map(Some) }
    });
    match written.await.map_err(unusable)? {
        Ok(None) => Ok(Progress::Begun(end)),
        Ok(Some((found, bytes))) if found == expected.0 && bytes == length => {
            supply.objects.put(&name, &path).await.map_err(unusable)?;
            remove(&path);
            Ok(Progress::Stored)
        }
        Ok(Some(_)) => {
            remove(&path);
            Err(NOT_THE_ARCHIVE
                .because("the upload begins anew: what has come has another hash than its name"))
        }
        Err(Refused::Elsewhere(begun)) => {
            Err(ANOTHER_PART.because(format!("{begun} bytes of the archive are here: go on there")))
        }
        Err(Refused::Io(error)) => Err(unusable(error)),
    }
}

enum Refused {
    Elsewhere(u64),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn append(path: &Path, offset: u64, part: &[u8]) -> Result<(), Refused> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let begun = file.metadata()?.len();
    if offset != begun {
        return Err(Refused::Elsewhere(begun));
    }
    file.seek(SeekFrom::Start(offset))?;
    if let Err(error) = file.write_all(part) {
        // Half of a part would stand where the next one begins.
        file.set_len(offset)?;
        return Err(error.into());
    }
    Ok(())
}

fn hash(path: &Path) -> Result<([u8; 32], u64), Refused> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut hash)?;
    Ok((hash.finalize().into(), bytes))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "an upload is left behind");
    }
}

/// Removes uploads that nobody goes on with.
pub(super) fn forget(folder: &PathBuf, now: SystemTime) -> io::Result<usize> {
    let mut gone = 0;
    for entry in fs::read_dir(folder)? {
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
