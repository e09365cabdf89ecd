//! Faults of the disk: an error in answer to one request, or to every one from then on; syncs that do nothing; a slow head; no answer
//! at all.

use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Reads, or looks.
    Look,
    /// Changes something, or brings it to the disk.
    Change,
}

/// An error in the place of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The number of the request, counted from now; where the error spares the request, the next one that it does not.
    pub after: u64,
    /// The error. A disk that is full or protected answers those who only look.
    pub error: Errno,
    /// Whether every later request fails too.
    pub for_good: bool,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    fault: Option<(u64, Fault)>,
    syncs_are_lost: bool,
    next_sync_fails: bool,
    bytes_per_s: Option<u64>,
    hangs: bool,
}

/// The faults of one disk.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    goes_on: Condvar,
}

impl Faults {
    /// Counts a request, and waits for as long as the disk hangs; returns the error that the request is answered with, if any.
    pub(super) fn strike(&self, asks: Asks) -> Option<Errno> {
        let state = self.goes_on.wait_while(self.lock(), |state| state.hangs);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.requests += 1;
        let (since, fault) = state.fault?;
        let spared = asks == Asks::Look && matches!(fault.error, Errno::NOSPC | Errno::ROFS);
        if state.requests - since <= fault.after || spared {
            return None;
        }
        if !fault.for_good {
            state.fault = None;
        }
        Some(fault.error)
    }

    pub(super) fn plan(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        let now = state.requests;
        state.fault = fault.map(|fault| (now, fault));
    }

    pub(super) fn requests(&self) -> u64 {
        self.lock().requests
    }

    pub(super) fn lose_syncs(&self, lost: bool) {
        self.lock().syncs_are_lost = lost;
    }

    pub(super) fn syncs_are_lost(&self) -> bool {
        self.lock().syncs_are_lost
    }

    pub(super) fn fail_next_sync(&self) {
        self.lock().next_sync_fails = true;
    }

    pub(super) fn sync_fails(&self) -> bool {
        std::mem::take(&mut self.lock().next_sync_fails)
    }

    pub(super) fn slow_down(&self, bytes_per_s: Option<u64>) {
        self.lock().bytes_per_s = bytes_per_s;
    }

    pub(super) fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
        self.goes_on.notify_all();
    }

    /// How long so many bytes take.
    pub(super) fn takes(&self, bytes: usize) -> Duration {
        let rate = self.lock().bytes_per_s;
        rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Syncs that have failed, as Linux keeps account of them: whoever had the file open then is told once, by the next sync through
/// that opening.
#[derive(Debug, Default)]
pub(super) struct FailedSyncs {
    openings: u64,
    /// How many syncs of each file have failed.
    failed: HashMap<u64, u64>,
    /// How many of them an opening knows of.
    told: HashMap<u64, u64>,
}

impl FailedSyncs {
    /// Begins an opening of a file; returns its number.
    pub(super) fn open(&mut self, file: u64) -> u64 {
        self.openings += 1;
        self.told.insert(self.openings, self.of(file));
        self.openings
    }

    /// Notes that a sync of a file fails.
    pub(super) fn fail(&mut self, file: u64) {
        *self.failed.entry(file).or_default() += 1;
    }

    /// Whether a sync through this opening is to be told of a failure.
    pub(super) fn tell(&mut self, file: u64, opening: u64) -> bool {
        let failed = self.of(file);
        self.told.insert(opening, failed).unwrap_or_default() < failed
    }

    fn of(&self, file: u64) -> u64 {
        self.failed.get(&file).copied().unwrap_or_default()
    }
}
