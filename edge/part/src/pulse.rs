//! The pulse: all work that has begun and must end, each piece with its limit. The watchdog is fed while
//! every piece ends in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A limit that is longer than the slowest disk takes for the largest write, and longer than any TPM takes.
pub const SLOW_DISK: Duration = Duration::from_secs(60);

/// The pulse, shared by the parts; cheap to clone.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    last: u64,
    end_by: BTreeMap<u64, Instant>,
}

/// A piece of work that must end; dropping the value says that the work has ended.
pub struct Busy {
    number: u64,
    limit: Duration,
    pulse: Pulse,
}

impl Pulse {
    /// Begins a piece of work that must end, or [get on](Busy::gets_on), within `limit`.
    pub fn busy(&self, limit: Duration) -> Busy {
        let mut under_way = self.lock();
        under_way.last += 1;
        let number = under_way.last;
        under_way.end_by.insert(number, Instant::now() + limit);
        Busy { number, limit, pulse: self.clone() }
    }

    /// Whether every piece of work is within its limit.
    pub fn is_well(&self, now: Instant) -> bool {
        self.lock().end_by.values().all(|end_by| now < *end_by)
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// Begins the limit anew: for work that takes long but makes progress.
    pub fn gets_on(&self) {
        self.pulse.lock().end_by.insert(self.number, Instant::now() + self.limit);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pulse.lock().end_by.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_when_something_does_not_end_within_its_limit() {
        let pulse = Pulse::default();
        let late = Instant::now() + SLOW_DISK + Duration::from_secs(1);
        let hanging = pulse.busy(SLOW_DISK);
        let _download = pulse.busy(10 * SLOW_DISK);
        assert!(pulse.is_well(Instant::now()) && !pulse.is_well(late));
        drop(hanging);
        assert!(pulse.is_well(late));
    }

    #[test]
    fn what_gets_on_may_take_long() {
        let pulse = Pulse::default();
        let slow = pulse.busy(Duration::from_millis(1));
        let soon = Instant::now() + Duration::from_millis(1);
        while Instant::now() < soon {}
        assert!(!pulse.is_well(Instant::now()));
        slow.gets_on();
        assert!(pulse.is_well(soon));
    }
}
