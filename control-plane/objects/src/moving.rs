//! Files that become objects of a folder: moved where both lie on one disk, so that nothing has to fit there twice.

use rustix::fs::statvfs;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Moves a file to its place in a folder; returns whether it could. On another disk it has to be copied: that disk has room for it then,
/// and keeps so many bytes free.
pub(crate) fn into(folder: &Path, place: &Path, file: &Path, left_free: u64) -> io::Result<bool> {
    // What was acknowledged survives a power cut.
    File::open(file)?.sync_all()?;
    match fs::rename(file, place) {
        Ok(()) => {
            File::open(folder)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let disk = statvfs(folder)?;
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < fs::metadata(file)?.len().saturating_add(left_free) {
                return Err(ErrorKind::StorageFull.into());
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
