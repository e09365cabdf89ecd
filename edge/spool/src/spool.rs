//! The spool: three lanes over one store, one byte budget, one lock.

use crate::error::SpoolError;
use crate::lane::LaneCounters;
use crate::lanes::{Lanes, SpoolConfig};
use crate::odometer::Odometer;
use crate::reserve::{self, Reserve};
use crate::store::{Caught, PANICKED, catch_panic, set_aside};
use noderr_protocol::{Entry, Lane, LaneState, MAX_RECORD, Position};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// On disk.
    Kept,
    /// The disk is full: the records were numbered, counted, and reported as a gap, but not kept.
    DiskFull,
}

/// The spool in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Records that wait.
    pub records: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// Bytes on disk, as sled counts them.
    pub disk_bytes: u64,
    /// Numbers lost to the budget, lack of space or damage since the spool was made.
    pub lost: u64,
    /// Numbers among `lost` that damage on the disk has cost since the start.
    pub damaged: u64,
    /// Records that wait and that only a later build can read.
    pub foreign: u64,
}

/// The outgoing buffer. Its methods block on the disk: call them from blocking code.
pub struct Spool {
    config: SpoolConfig,
    replaced: Option<PathBuf>,
    reserve: Reserve,
    odometer: Odometer,
    state: Mutex<State>,
    /// The figures as of the last operation, so that looking never waits for the disk.
    figures: Mutex<SpoolStats>,
}

/// sled refuses everything after an I/O error until the database is opened again; numbers must go on
/// meanwhile.
enum State {
    Open(Lanes),
    Closed(Vec<LaneCounters>),
}

impl Spool {
    /// Opens the spool, or begins a new one; see [`Self::replaced`].
    pub fn open(config: SpoolConfig) -> Result<Self, SpoolError> {
        let (odometer, known) = Odometer::open(&config.path);
        let (mut lanes, replaced) = Lanes::open(&config, &known)?;
        lanes.account_for_forgotten();
        let reserve = Reserve::new(&config.path);
        let state = State::Open(lanes);
        let figures = Mutex::new(state.figures());
        Ok(Self { config, replaced, reserve, odometer, state: Mutex::new(state), figures })
    }

    /// Frees the space that the spool of this folder has set aside, for a start of the node that needs the
    /// space more.
    pub fn give_up_reserve(path: &Path) -> std::io::Result<()> {
        reserve::give_up(path)
    }

    /// Where the previous spool was moved, if it could not be opened.
    pub fn replaced(&self) -> Option<&Path> {
        self.replaced.as_deref()
    }

    /// Appends records to a lane. After [`Appended::Kept`] the records are on disk; if the budget was
    /// exceeded, the oldest records of the least important lane have become a gap.
    pub fn append(&self, lane: Lane, bodies: &[Vec<u8>]) -> Result<Appended, SpoolError> {
        if let Some(body) = bodies.iter().find(|body| body.len() > MAX_RECORD) {
            return Err(SpoolError::TooLarge(body.len()));
        }
        if bodies.is_empty() {
            return Ok(Appended::Kept);
        }
        let mut state = self.lock();
        let room = self.reserve.make_room(lane);
        let kept = room && self.with(&mut state, |lanes| lanes.append(&self.config, lane, bodies)).is_ok();
        if kept {
            return Ok(Appended::Kept);
        }
        let numbers = state.numbers(lane);
        // A write that failed half-way may have given the numbers out already: reading finds the hole that it
        // left.
        numbers.lose(self.config.epoch, bodies.len() as u64);
        self.note(&state);
        Ok(Appended::DiskFull)
    }

    /// Entries of a lane behind number `after` (0: from the oldest), `max_entries` and `max_bytes` at most.
    pub fn read(
        &self,
        lane: Lane,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        self.with(&mut self.lock(), |lanes| lanes.lane(lane).read(after, max_entries, max_bytes))
    }

    /// Deletes the records that the server has committed; returns how many records were deleted.
    pub fn acknowledge(&self, lane: Lane, through: Position) -> Result<u64, SpoolError> {
        self.with(&mut self.lock(), |lanes| lanes.acknowledge(lane, through))
    }

    /// What each lane holds.
    pub fn lanes(&self) -> Result<Vec<LaneState>, SpoolError> {
        self.with(&mut self.lock(), |lanes| {
            lanes
                .lanes
                .iter()
                .map(|lane| {
                    let LaneCounters { lane: name, next, .. } = lane.numbers;
                    Ok(LaneState { lane: name.tag(), oldest: lane.oldest()?, next })
                })
                .collect()
        })
    }

    /// The spool in figures, as of its last operation. Never waits for the disk.
    pub fn stats(&self) -> SpoolStats {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, state: &State) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = state.figures();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation. Opens the database first if an earlier failure closed it, and closes the database
    /// if the operation fails.
    fn with<T>(
        &self,
        state: &mut State,
        operation: impl FnOnce(&mut Lanes) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        if let State::Closed(numbers) = state {
            let (mut lanes, replaced) = Lanes::open(&self.config, numbers)?;
            // A write that failed half-way has given numbers out as well; only if the database was set aside
            // were the missing numbers on disk.
            if replaced.is_some() {
                lanes.account_for_forgotten();
            }
            *state = State::Open(lanes);
        }
        let State::Open(lanes) = state else { unreachable!("opened just above") };
        let before = lanes.numbers();
        let (result, panicked) = match catch_panic(|| operation(lanes)) {
            Caught::Done(result) => (result, false),
            Caught::Panicked => (Err(SpoolError::Database(PANICKED.to_owned())), true),
        };
        let now = lanes.numbers();
        if result.is_ok() && now != before {
            self.odometer.write(&now);
        }
        if let Err(error) = &result {
            tracing::warn!(%error, "the spool failed and will be opened again");
            let broken = std::mem::replace(state, State::Closed(now));
            if panicked {
                // sled must not be dropped after a panic of its own. It keeps its lock, so the folder is set
                // aside.
                std::mem::forget(broken);
                set_aside(&self.config.path).map_err(SpoolError::Disk)?;
                if let State::Closed(numbers) = state {
                    let (mut lanes, _) = Lanes::open(&self.config, numbers)?;
                    lanes.account_for_forgotten();
                    *state = State::Open(lanes);
                }
            }
        }
        self.note(state);
        result
    }
}

impl State {
    /// The state in figures; while the database is closed after an I/O error, only losses are known.
    fn figures(&self) -> SpoolStats {
        let losses = |numbers: &mut dyn Iterator<Item = &LaneCounters>| {
            numbers.fold((0, 0), |(lost, damaged), lane| (lost + lane.lost, damaged + lane.damaged))
        };
        match self {
            Self::Open(Lanes { store, lanes, .. }) => {
                let (lost, damaged) = losses(&mut lanes.iter().map(|lane| &lane.numbers));
                SpoolStats {
                    records: lanes.iter().map(|lane| lane.records).sum(),
                    bytes: lanes.iter().map(|lane| lane.bytes).sum(),
                    foreign: lanes.iter().map(|lane| lane.foreign).sum(),
                    disk_bytes: store.db.size_on_disk().unwrap_or_default(),
                    lost,
                    damaged,
                }
            }
            Self::Closed(numbers) => {
                let (lost, damaged) = losses(&mut numbers.iter());
                SpoolStats { lost, damaged, ..SpoolStats::default() }
            }
        }
    }

    fn numbers(&mut self, lane: Lane) -> &mut LaneCounters {
        let found = match self {
            Self::Open(lanes) => Some(&mut lanes.lane(lane).numbers),
            Self::Closed(numbers) => numbers.iter_mut().find(|numbers| numbers.lane == lane),
        };
        found.expect("every lane is known from the first opening on")
    }
}
