//! Whether the database is open. sled refuses everything after an I/O error until the database is opened again, and some
//! disks cannot be used at all; the box goes on meanwhile, and counts what it cannot keep.

use crate::error::SpoolError;
use crate::lane::{LaneCounters, LaneNumbers};
use crate::lanes::Lanes;
use crate::stats::SpoolStats;
use noderr_protocol::Lane;
use std::time::{Duration, Instant};

/// Above this, a database that holds nothing is larger than what comes and goes every day makes it.
const OUTGROWN: u64 = 16 << 20;

pub(crate) enum State {
    Open(Lanes),
    Closed(Closed),
}

/// What must not be forgotten while the database is closed.
pub(crate) struct Closed {
    pub(crate) numbers: LaneNumbers,
    /// Records that could not be kept since; they get their numbers when the database is open again.
    missed: [u64; Lane::ALL.len()],
    pub(crate) why: String,
    retry_at: Instant,
    /// Somebody is about to open the database.
    pub(crate) opening: bool,
}

impl Closed {
    /// Not opened yet, or closed by a failure: to be opened at the next occasion.
    pub(crate) fn new(numbers: LaneNumbers, why: String) -> Self {
        Self { numbers, missed: Default::default(), why, retry_at: Instant::now(), opening: false }
    }

    pub(crate) fn may_open(&self) -> bool {
        !self.opening && Instant::now() >= self.retry_at
    }

    /// Notes an attempt that failed.
    pub(crate) fn did_not_open(&mut self, error: &SpoolError, retry_every: Duration) {
        tracing::warn!(%error, "the spool cannot be opened; what cannot be kept is counted");
        (self.why, self.opening, self.retry_at) = (error.to_string(), false, Instant::now() + retry_every);
    }

    /// Counts records that cannot be kept.
    pub(crate) const fn miss(&mut self, lane: Lane, count: u64) {
        self.missed[lane as usize] += count;
    }

    /// Gives the numbers of missed records out, now that the last number is known.
    pub(crate) fn settle(&self, lanes: &mut Lanes, epoch: u64) {
        for lane in Lane::ALL {
            if let count @ 1.. = self.missed[lane as usize] {
                lanes.lane(lane).numbers.lose(epoch, count);
            }
        }
    }
}

impl State {
    /// Counts records that could not be kept.
    pub(crate) fn miss(&mut self, epoch: u64, lane: Lane, count: u64) {
        match self {
            Self::Open(lanes) if count > 0 => lanes.lane(lane).numbers.lose(epoch, count),
            Self::Open(_) => {}
            Self::Closed(closed) => closed.miss(lane, count),
        }
    }

    /// The state in figures; while the database is closed, only losses are known.
    pub(crate) fn figures(&self) -> SpoolStats {
        let losses = |numbers: &mut dyn Iterator<Item = &LaneCounters>| {
            numbers.fold((0, 0), |(lost, damaged), lane| (lost + lane.lost, damaged + lane.damaged))
        };
        match self {
            Self::Open(open) => {
                let Lanes { store, lanes, .. } = open;
                let (lost, damaged) = losses(&mut lanes.iter().map(|lane| &lane.numbers));
                let disk_bytes = store.db.size_on_disk().unwrap_or_default();
                SpoolStats {
                    records: lanes.iter().map(|lane| lane.held.records).sum(),
                    bytes: lanes.iter().map(|lane| lane.held.bytes).sum(),
                    foreign: lanes.iter().map(|lane| lane.held.foreign).sum(),
                    disk_bytes,
                    outgrown: (disk_bytes > OUTGROWN || !store.has_segments_of_today()) && open.seem_empty(),
                    lost,
                    damaged,
                    open: true,
                }
            }
            Self::Closed(Closed { numbers, missed, .. }) => {
                let (lost, damaged) = losses(&mut numbers.iter());
                SpoolStats { lost: lost + missed.iter().sum::<u64>(), damaged, ..SpoolStats::default() }
            }
        }
    }
}
