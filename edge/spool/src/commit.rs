//! Group commit: appends that come together share one sync of the disk.
//!
//! Whoever finds no sync under way begins one, for everything that was written before; whoever comes meanwhile waits for the
//! next. Numbers count as durable after the sync: until then nothing of them may leave the box, or a power cut would have the
//! box give out numbers again that the control plane has seen.

use crate::error::SpoolError;
use crate::lane::LANES;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The next number of each lane.
pub(crate) type Numbers = [u64; LANES];

#[derive(Default)]
pub(crate) struct Commit {
    turns: Mutex<Turns>,
    done: Condvar,
}

#[derive(Default)]
struct Turns {
    /// The last ticket given out, and the numbers that were written with it.
    asked: u64,
    written: Numbers,
    /// The last ticket whose writes are on the disk, and the last whose sync failed.
    synced: u64,
    failed: u64,
    durable: Numbers,
    under_way: bool,
    /// Since a sync has failed: the kernel reports lost pages once, and the next sync says nothing of them.
    broken: bool,
}

impl Commit {
    /// Begins with what an opened database holds on the disk.
    pub(crate) fn opened(&self, durable: Numbers) {
        let mut turns = self.lock();
        (turns.durable, turns.written, turns.broken) = (durable, durable, false);
        // Whoever still waits was told of the failure.
        turns.synced = turns.asked;
    }

    /// Takes a ticket for what was written up to these numbers. Called while nobody else writes.
    pub(crate) fn ask(&self, written: Numbers) -> u64 {
        let mut turns = self.lock();
        turns.asked += 1;
        turns.written = written;
        turns.asked
    }

    /// Returns when everything written before the ticket is on the disk.
    pub(crate) fn wait(
        &self,
        ticket: u64,
        sync: impl Fn() -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let mut turns = self.lock();
        loop {
            if turns.synced >= ticket {
                return Ok(());
            }
            if turns.failed >= ticket || turns.broken {
                return Err(SpoolError::Unsynced);
            }
            if turns.under_way {
                turns = self.done.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            turns.under_way = true;
            let (last, written) = (turns.asked, turns.written);
            drop(turns);
            let synced = sync();
            turns = self.lock();
            turns.under_way = false;
            self.done.notify_all();
            match synced {
                Ok(()) => (turns.synced, turns.durable) = (last, written),
                Err(error) => {
                    (turns.failed, turns.broken) = (last, true);
                    return Err(error);
                }
            }
        }
    }

    /// Whether nobody waits for the disk.
    pub(crate) fn is_quiet(&self) -> bool {
        let turns = self.lock();
        !turns.under_way && !turns.broken && turns.synced == turns.asked
    }

    /// The numbers below which everything is on the disk.
    pub(crate) fn durable(&self) -> Numbers {
        self.lock().durable
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Barrier};

    #[test]
    fn those_who_come_together_share_a_sync_and_nobody_returns_before_one_that_began_later() {
        let (commit, syncs, begin) =
            (Arc::new(Commit::default()), Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(9)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (commit, syncs, begin) = (commit.clone(), syncs.clone(), begin.clone());
                std::thread::spawn(move || {
                    let ticket = commit.ask([1; 3]);
                    begin.wait();
                    commit
                        .wait(ticket, || {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                })
            })
            .collect();
        begin.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(syncs.load(Ordering::SeqCst), 1, "all had written before the first sync began");
        let late = commit.ask([2; 3]);
        assert_eq!(commit.durable(), [1; 3]);
        commit.wait(late, || Ok(())).unwrap();
        assert_eq!(commit.durable(), [2; 3]);
    }

    #[test]
    fn a_sync_that_fails_fails_for_all_who_waited_and_makes_nothing_durable() {
        let commit = Commit::default();
        let (first, second) = (commit.ask([5; 3]), commit.ask([6; 3]));
        assert!(commit.wait(second, || Err(SpoolError::Unsynced)).is_err());
        assert!(commit.wait(first, || Ok(())).is_err());
        assert_eq!(commit.durable(), [0; 3]);
        // The kernel says once that pages are lost: a later sync proves nothing until the database is read anew.
        let third = commit.ask([7; 3]);
        assert!(commit.wait(third, || Ok(())).is_err());
        assert_eq!(commit.durable(), [0; 3]);
        commit.opened([5; 3]);
        let fourth = commit.ask([6; 3]);
        assert!(commit.wait(fourth, || Ok(())).is_ok());
        assert_eq!(commit.durable(), [6; 3]);
    }
}
