//! Whether the node still gets things done: what has begun and must end, and since when. The watchdog looks at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer than the slowest disk takes for the largest write, and than any TPM takes.
const LONGEST: Duration = Duration::from_secs(60);

/// Shared by the parts; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pulse(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    last: u64,
    since: BTreeMap<u64, Instant>,
}

/// Something that must end; it has when this is dropped.
pub(crate) struct Busy {
    number: u64,
    pulse: Pulse,
}

impl Pulse {
    /// Something begins that must end.
    pub(crate) fn busy(&self) -> Busy {
        let mut under_way = self.lock();
        under_way.last += 1;
        let number = under_way.last;
        under_way.since.insert(number, Instant::now());
        Busy { number, pulse: self.clone() }
    }

    /// Whether everything ends in time.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        self.lock().since.values().all(|since| now.saturating_duration_since(*since) < LONGEST)
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pulse.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_when_something_does_not_end() {
        let pulse = Pulse::default();
        let late = Instant::now() + LONGEST + Duration::from_secs(1);
        assert!(pulse.is_well(late));
        let hanging = pulse.busy();
        assert!(pulse.is_well(Instant::now()) && !pulse.is_well(late));
        drop(hanging);
        assert!(pulse.is_well(late));
    }
}
