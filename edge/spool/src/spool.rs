//! The spool: three lanes over one store, one byte budget, one lock.

use crate::commit::Commit;
use crate::error::SpoolError;
use crate::lane::{LaneCounters, LaneNumbers};
use crate::lanes::{Lanes, SpoolConfig};
use crate::odometer::Odometer;
use crate::reserve::{self, Reserve};
use crate::state::{Closed, State};
use crate::stats::SpoolStats;
use crate::store::{
    Caught, Flusher, catch_panic, clear_emptied, clear_remains, clear_set_aside, close_quietly, set_aside,
};
use noderr_protocol::{Entry, Lane, LaneState, MAX_RECORD, Position};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// On disk.
    Kept,
    /// Not known to be on disk, which is full or fails: counted, and found, or reported as a gap, when the database opens
    /// again.
    NotKept,
}

/// The outgoing buffer. Its methods block on the disk: call them from blocking code.
pub struct Spool {
    pub(crate) config: SpoolConfig,
    replaced: Mutex<Option<PathBuf>>,
    pub(crate) reserve: Reserve,
    odometer: Odometer,
    state: Mutex<State>,
    pub(crate) commit: Commit,
    /// The figures as of the last operation, so that looking never waits for the disk.
    figures: Mutex<SpoolStats>,
}

impl Spool {
    /// Opens the spool, or begins a new one; see [`Self::replaced`].
    pub fn open(config: SpoolConfig) -> Result<Self, SpoolError> {
        let spool = Self::closed(config);
        spool.try_open(&|| {})?;
        Ok(spool)
    }

    /// A spool that is not open yet, and opens with [`Self::try_open`]: a box whose disk takes minutes, or does not work at
    /// all, does everything else meanwhile.
    pub fn closed(config: SpoolConfig) -> Self {
        let (odometer, known) = Odometer::open(&config.path);
        let reserve = Reserve::new(&config.path);
        let state = State::Closed(Closed::new(known, "it is not open yet".to_owned()));
        let figures = Mutex::new(state.figures());
        let (replaced, commit) = (Mutex::default(), Commit::default());
        Self { config, replaced, reserve, odometer, state: Mutex::new(state), commit, figures }
    }

    /// Opens the database if it is closed; meanwhile every other operation fails at once. Nothing else opens the database again
    /// after a failure: on a slow disk that takes minutes, which only whoever watches it can allow. `gets_on` is called as
    /// long as there is progress.
    pub fn try_open(&self, gets_on: &dyn Fn()) -> Result<(), SpoolError> {
        let known = {
            let mut state = self.lock();
            let State::Closed(closed) = &mut *state else { return Ok(()) };
            if !closed.may_open() {
                return Err(SpoolError::Closed(closed.why.clone()));
            }
            closed.opening = true;
            closed.numbers
        };
        let opened = self.open_lanes(&known, gets_on);
        self.finish_opening(&mut self.lock(), opened)
    }

    /// Takes up the database that was opened, or notes why it did not open.
    pub(crate) fn finish_opening(
        &self,
        state: &mut State,
        opened: Result<(Lanes, Option<PathBuf>), SpoolError>,
    ) -> Result<(), SpoolError> {
        let State::Closed(closed) = state else { unreachable!("only whoever opens it leaves this state") };
        let (mut lanes, replaced) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                closed.did_not_open(&error, self.config.retry_every);
                self.note(state);
                return Err(error);
            }
        };
        if let Some(aside) = replaced {
            *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(aside);
        }
        closed.settle(&mut lanes, self.config.epoch);
        self.commit.opened(lanes.written());
        *state = State::Open(lanes);
        self.note(state);
        Ok(())
    }

    /// Opens the database. A full disk must not keep the database closed as long as there is a reserve. What is found was
    /// written before, but by a process that may not have lived to bring it to the disk.
    pub(crate) fn open_lanes(
        &self,
        known: &LaneNumbers,
        gets_on: &dyn Fn(),
    ) -> Result<(Lanes, Option<PathBuf>), SpoolError> {
        if let Err(error) = clear_remains(&self.config.path) {
            tracing::warn!(%error, "what is left of a spool that was begun anew cannot be cleared away");
        }
        let opened = match Lanes::open(&self.config, known, gets_on) {
            Err(SpoolError::Disk(error)) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.reserve.give_up();
                Lanes::open(&self.config, known, gets_on)
            }
            opened => opened,
        };
        let (mut lanes, replaced) = opened?;
        let written = catch_panic(|| {
            lanes.account_for_forgotten();
            lanes.flusher().flush()
        });
        match written {
            Caught::Done(Ok(())) => Ok((lanes, replaced)),
            Caught::Done(Err(error)) => {
                close_quietly(lanes);
                Err(error)
            }
            Caught::Panicked => {
                std::mem::forget(lanes);
                self.leave_behind();
                Err(SpoolError::Panicked)
            }
        }
    }

    /// Sets the folder aside whose database panicked. sled must not be dropped after a panic of its own, and keeps its lock.
    fn leave_behind(&self) {
        match set_aside(&self.config.path) {
            Ok(aside) => *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(aside),
            Err(error) => tracing::error!(%error, "the broken spool cannot be set aside"),
        }
    }

    /// Frees the space of this spool's reserve, for a start of the node that needs the space more.
    pub fn give_up_reserve(path: &Path) -> std::io::Result<()> {
        reserve::give_up(path)
    }

    /// Where the previous spool was moved, if it could not be opened; says so once.
    pub fn replaced(&self) -> Option<PathBuf> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Deletes what was set aside long ago; returns the bytes that broken spools still take.
    pub fn clear_set_aside(&self) -> std::io::Result<u64> {
        clear_emptied(&self.config.path)?;
        clear_set_aside(&self.config.path, false)
    }

    /// Appends records to a lane. After [`Appended::Kept`] the records are on disk; if the budget was
    /// exceeded, the oldest records of the least important lane have become a gap. Appends that come together share a sync.
    pub fn append(&self, lane: Lane, bodies: &[Vec<u8>]) -> Result<Appended, SpoolError> {
        if let Some(body) = bodies.iter().find(|body| body.len() > MAX_RECORD) {
            return Err(SpoolError::TooLarge(body.len()));
        }
        if bodies.is_empty() {
            return Ok(Appended::Kept);
        }
        let Some((ticket, flusher)) = self.write(lane, bodies) else { return Ok(Appended::NotKept) };
        let synced = self.commit.wait(ticket, || match catch_panic(|| flusher.flush()) {
            Caught::Done(flushed) => flushed,
            Caught::Panicked => Err(SpoolError::Panicked),
        });
        close_quietly(flusher);
        if let Err(error) = synced {
            // Whether these records are on the disk is seen when the database is opened again.
            self.close_after(&error);
            return Ok(Appended::NotKept);
        }
        self.write_odometer(&mut self.lock());
        Ok(Appended::Kept)
    }

    /// Writes records down, not yet on the disk; counts those that cannot be written.
    fn write(&self, lane: Lane, bodies: &[Vec<u8>]) -> Option<(u64, Flusher)> {
        let room = self.reserve.may_write(lane);
        let (mut written, count) = (0, bodies.len() as u64);
        let wrote = room.then(|| {
            self.with(|lanes| {
                let before = lanes.lane(lane).numbers.next;
                let appended = lanes.append(&self.config, lane, bodies);
                // Numbers that were given out before a failure are found, or missed, by reading.
                written = lanes.lane(lane).numbers.next - before;
                appended.map(|()| (self.commit.ask(lanes.written()), lanes.flusher()))
            })
        });
        if let Some(Ok(done)) = wrote {
            return Some(done);
        }
        let mut state = self.lock();
        state.miss(self.config.epoch, lane, count.saturating_sub(written));
        self.note(&state);
        None
    }

    /// Entries of a lane behind number `after` (0: from the oldest), `max_entries` and `max_bytes` at most. Only
    /// what is on the disk is read.
    pub fn read(
        &self,
        lane: Lane,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        let end = self.commit.durable()[lane as usize];
        self.with(|lanes| lanes.lane(lane).read(after, end, max_entries, max_bytes))
    }

    /// Deletes the records that the server has committed; returns how many records were deleted.
    pub fn acknowledge(&self, lane: Lane, through: Position) -> Result<u64, SpoolError> {
        let gone = self.with(|lanes| lanes.acknowledge(lane, through))?;
        self.write_odometer(&mut self.lock());
        Ok(gone)
    }

    /// What each lane holds.
    pub fn lanes(&self) -> Result<Vec<LaneState>, SpoolError> {
        self.with(|lanes| {
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

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the numbers down beside the database: those that are on the disk and no others.
    fn write_odometer(&self, state: &mut State) {
        let State::Open(lanes) = state else { return };
        let durable = self.commit.durable();
        let numbers = lanes.numbers().map(|numbers| LaneCounters {
            next: numbers.written().min(durable[numbers.lane as usize]),
            pending: None,
            ..numbers
        });
        self.odometer.write(&numbers);
    }

    /// Runs one operation; closes the database if the operation fails.
    fn with<T>(&self, operation: impl FnOnce(&mut Lanes) -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        let mut state = self.lock();
        let lanes = match &mut *state {
            State::Open(lanes) => lanes,
            State::Closed(closed) => return Err(SpoolError::Closed(closed.why.clone())),
        };
        let result = match catch_panic(|| operation(lanes)) {
            Caught::Done(result) => result,
            Caught::Panicked => {
                self.close(&mut state, &SpoolError::Panicked);
                return Err(SpoolError::Panicked);
            }
        };
        match &result {
            Err(error) => self.close(&mut state, error),
            Ok(_) => self.note(&state),
        }
        result
    }

    fn close_after(&self, error: &SpoolError) {
        self.close(&mut self.lock(), error);
    }

    /// Closes the database after a failure. Numbers that were given out and never reached the disk are not given out again.
    pub(crate) fn close(&self, state: &mut State, error: &SpoolError) {
        let State::Open(lanes) = state else { return };
        tracing::warn!(%error, "the spool failed and will be opened again");
        let closed = State::Closed(Closed::new(lanes.numbers(), error.to_string()));
        let broken = std::mem::replace(state, closed);
        if let SpoolError::Panicked = error {
            std::mem::forget(broken);
            self.leave_behind();
        } else {
            close_quietly(broken);
        }
        self.note(state);
    }
}

impl Drop for Spool {
    /// Closes the database; a disk that fails while sled closes must not take whoever drops the spool along.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let closed = State::Closed(Closed::new(Lane::ALL.map(LaneCounters::new), "it is dropped".to_owned()));
        close_quietly(std::mem::replace(state, closed));
    }
}
