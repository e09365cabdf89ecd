//! The odometer: how far each lane has counted, in a file beside the database and independent of the
//! database. Damage can make sled forget its newest writes silently, and forgotten numbers must not be given
//! out again.
//!
//! The odometer is written after every flush and never before, and without the numbers that were lost for
//! lack of space, so it is never ahead of the disk. It is not flushed itself, so that it costs next to
//! nothing: after a power cut an older state of the file may be found, which notices less damage but claims
//! nothing false.

use crate::lane::{LANES, LaneCounters, LaneNumbers};
use noderr_protocol::Lane;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const LEN: usize = LANES * 16 + 4;

pub(crate) struct Odometer(Option<File>);

impl Odometer {
    /// Opens the odometer beside the spool's folder and reads its counters: all at the start if the file is
    /// new or damaged.
    pub(crate) fn open(spool: &Path) -> (Self, LaneNumbers) {
        let path = spool.with_extension("numbers");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file
            .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "numbers cannot be kept"))
            .ok();
        let mut bytes = [0; LEN];
        let whole = file.as_ref().is_some_and(|file| file.read_exact_at(&mut bytes, 0).is_ok());
        let mut numbers = Lane::ALL.map(LaneCounters::new);
        if whole && bytes[LEN - 4..] == crc32fast::hash(&bytes[..LEN - 4]).to_be_bytes() {
            for (numbers, said) in numbers.iter_mut().zip(bytes.chunks_exact(16)) {
                let (next, acknowledged) = said.split_at(8);
                let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
                numbers.next = number(next).max(1);
                numbers.acknowledged = number(acknowledged);
            }
        }
        (Self(file), numbers)
    }

    pub(crate) fn write(&self, lanes: &LaneNumbers) {
        let Some(file) = &self.0 else { return };
        let mut bytes = Vec::with_capacity(LEN);
        for numbers in lanes {
            bytes.extend_from_slice(&numbers.written().to_be_bytes());
            bytes.extend_from_slice(&numbers.acknowledged.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        if let Err(error) = file.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "the numbers were not written down");
        }
    }
}
