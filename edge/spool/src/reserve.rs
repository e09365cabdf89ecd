//! Room on the disk: which lanes may still write when room runs out, and a few megabytes set aside for alerts
//! and results.

use crate::store::clear_set_aside;
use noderr_part::Disk;
use noderr_protocol::Lane;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// With less than this on the file system, telemetry is dropped and counted.
pub const TELEMETRY_STOPS_BELOW: u64 = 4 * MIB;
/// Bytes set aside, and given up when the disk is full, so that the alert about the full disk can still be
/// written.
pub const SET_ASIDE: u64 = 3 * MIB;
/// Free space from which on the reserve is set aside again.
const PLENTY: u64 = 8 * MIB;

/// Keeps lanes from writing into a disk that is too full: sled takes space by the segment, and must be opened
/// again after a write that fails.
pub(crate) struct Reserve {
    file: PathBuf,
    spool: PathBuf,
}

impl Reserve {
    /// Sets space aside beside the spool's folder, if there is plenty.
    pub(crate) fn new(spool: &Path) -> Self {
        let reserve = Self { file: file(spool), spool: spool.to_owned() };
        reserve.make_room(Lane::Telemetry);
        reserve
    }

    /// Whether a lane may write now. Gives up the reserve for alerts and results, and sets the reserve aside
    /// again when the disk has recovered.
    pub(crate) fn make_room(&self, lane: Lane) -> bool {
        let needed = needs(lane);
        let free = self.free();
        if free >= PLENTY && !self.file.exists() {
            self.set_aside();
        }
        if free >= needed {
            return true;
        }
        // A broken spool that is kept for inspection is worth less than what is measured now.
        if clear_set_aside(&self.spool, true).is_ok() && self.free() >= needed {
            return true;
        }
        if lane == Lane::Telemetry || fs::remove_file(&self.file).is_err() {
            return false;
        }
        tracing::warn!("the disk is full; the space set aside for alerts and results is used");
        self.free() >= needed
    }

    /// Frees the space that was set aside.
    pub(crate) fn give_up(&self) {
        if fs::remove_file(&self.file).is_ok() {
            tracing::warn!("the disk is full; the space set aside is given up to open the spool");
        }
    }

    fn set_aside(&self) {
        let made = File::create(&self.file).and_then(|file| {
            fallocate(&file, FallocateFlags::empty(), 0, SET_ASIDE).map_err(std::io::Error::from)
        });
        if let Err(error) = made {
            tracing::warn!(%error, "no space could be set aside");
        }
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

/// Free bytes that a lane needs before it may write: the least important lane stops first.
const fn needs(lane: Lane) -> u64 {
    match lane {
        Lane::Telemetry => TELEMETRY_STOPS_BELOW,
        Lane::Result => 2 * MIB,
        Lane::Alert => MIB,
    }
}
