//! Room on the disk: which lanes may still write when room runs out, and a reserve of a few megabytes for alerts and results.

use crate::store::clear_set_aside;
use noderr_part::Disk;
use noderr_protocol::Lane;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// With less than this on the file system, telemetry is dropped and counted.
pub const TELEMETRY_STOPS_BELOW: u64 = 8 * MIB;
/// Bytes of the reserve, which is given up when the disk is full, so that the alert about the full disk can still be written.
pub const RESERVE: u64 = 6 * MIB;
/// Free space from which on the reserve is made again.
const PLENTY: u64 = 16 * MIB;

/// Keeps lanes from writing into a disk that is too full: sled takes space by the segment, and must be opened
/// again after a write that fails.
pub(crate) struct Reserve {
    file: PathBuf,
    spool: PathBuf,
}

impl Reserve {
    /// Makes the reserve beside the spool's folder, if there is plenty of room.
    pub(crate) fn new(spool: &Path) -> Self {
        let reserve = Self { file: file(spool), spool: spool.to_owned() };
        reserve.restock();
        reserve
    }

    /// Whether a lane may write now. Where room is short, broken spools go first, and then, for alerts and results, the
    /// reserve.
    pub(crate) fn may_write(&self, lane: Lane) -> bool {
        let needed = needs(lane);
        if self.restock() >= needed {
            return true;
        }
        // A broken spool that is kept for inspection is worth less than what is measured now.
        if clear_set_aside(&self.spool, true).is_ok() && self.free() >= needed {
            return true;
        }
        if lane == Lane::Telemetry || fs::remove_file(&self.file).is_err() {
            return false;
        }
        tracing::warn!("the disk is full; the reserve is used for alerts and results");
        self.free() >= needed
    }

    /// Frees the space of the reserve.
    pub(crate) fn give_up(&self) {
        if fs::remove_file(&self.file).is_ok() {
            tracing::warn!("the disk is full; the reserve is given up to open the spool");
        }
    }

    /// Makes the reserve again when the disk has recovered; returns the bytes that were free.
    fn restock(&self) -> u64 {
        let free = self.free();
        // A reserve of an earlier release may be smaller.
        if free < PLENTY || fs::metadata(&self.file).is_ok_and(|file| file.len() >= RESERVE) {
            return free;
        }
        let made = File::options().create(true).append(true).open(&self.file).and_then(|file| {
            fallocate(&file, FallocateFlags::empty(), 0, RESERVE).map_err(std::io::Error::from)
        });
        if let Err(error) = made {
            tracing::warn!(%error, "no reserve could be made");
            self.give_up();
        }
        free
    }

    fn free(&self) -> u64 {
        // The spool's own folder may not be there yet.
        let folder = self.spool.parent().unwrap_or(&self.spool);
        Disk::of(folder).map_or(0, |disk| disk.free)
    }
}

/// Deletes the reserve of a spool, which frees its space.
pub(crate) fn give_up(spool: &Path) -> std::io::Result<()> {
    fs::remove_file(file(spool))
}

fn file(spool: &Path) -> PathBuf {
    spool.with_extension("reserve")
}

/// Free bytes that a lane needs before it may write: the least important lane stops first, and none begins a segment of
/// sled's for which there is no room.
const fn needs(lane: Lane) -> u64 {
    match lane {
        Lane::Telemetry => TELEMETRY_STOPS_BELOW,
        Lane::Result => 4 * MIB,
        Lane::Alert => 2 * MIB,
    }
}
