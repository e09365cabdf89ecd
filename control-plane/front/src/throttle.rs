//! The throttle slows guessing down: a few failures are free, then each further failure doubles the wait.

use crate::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long to wait after failures.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// How many failures cost nothing.
    pub free: u32,
    /// The longest pause.
    pub longest: Duration,
}

impl Pauses {
    /// The pause after `failures` failures; `None` while failures are free.
    pub fn after(self, failures: u32) -> Option<Duration> {
        let beyond = failures.checked_sub(self.free)?;
        let doubled = 1_u64.checked_shl(beyond.min(63)).unwrap_or(u64::MAX);
        Some(Duration::from_secs(doubled).min(self.longest))
    }
}

/// Counts failures by key. The counts are kept in memory by each instance for itself, and may be lost.
pub struct Throttle<K> {
    most: usize,
    failures: Mutex<HashMap<K, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    /// The failure before the last one.
    before: Instant,
    longest: Duration,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// A throttle that remembers at most `most` keys.
    pub fn new(most: usize) -> Self {
        Self { most, failures: Mutex::default() }
    }

    /// Lets an attempt through that counts for all these keys, or says how long to wait. The attempt counts
    /// as failed until [`succeeded`](Self::succeeded) is called, so that attempts made at once all count.
    pub fn attempt(&self, keys: &[(K, Pauses)], now: Instant) -> Result<(), Duration> {
        let mut failures = lock(&self.failures);
        let wait = keys.iter().filter_map(|(key, pauses)| {
            let known = failures.get(key)?;
            let pause = pauses.after(known.count)?;
            pause.checked_sub(now.saturating_duration_since(known.last)).filter(|left| !left.is_zero())
        });
        if let Some(wait) = wait.max() {
            return Err(wait);
        }
        if failures.len() >= self.most {
            failures.retain(|_, known| now.saturating_duration_since(known.last) < known.longest);
        }
        for (key, pauses) in keys {
            if !failures.contains_key(key) && failures.len() >= self.most {
                // Whoever fills the memory must not be let off counting: the key that has been quiet longest goes.
                let quietest =
                    failures.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| key.clone());
                quietest.map(|key| failures.remove(&key));
            }
            let fresh = Failures { count: 0, last: now, before: now, longest: pauses.longest };
            let known = failures.entry(key.clone()).or_insert(fresh);
            known.count = known.count.saturating_add(1);
            (known.before, known.last) = (known.last, now);
        }
        Ok(())
    }

    /// Takes an attempt back that has neither succeeded nor failed: the keys wait no longer for it.
    pub fn take_back<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut failures = lock(&self.failures);
        for key in keys {
            if let Some(known) = failures.get_mut(key) {
                known.count = known.count.saturating_sub(1);
                known.last = known.before;
            }
        }
    }

    /// Forgets the failures of these keys after an attempt that succeeded.
    pub fn succeeded<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut failures = lock(&self.failures);
        for key in keys {
            failures.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { free: 5, longest: Duration::from_secs(300) };

    #[test]
    fn pauses_double_and_end_at_the_longest() {
        let seconds = |failures| PAUSES.after(failures).map(|pause| pause.as_secs());
        assert_eq!([4, 5, 6, 8].map(seconds), [None, Some(1), Some(2), Some(8)]);
        assert_eq!([14, 100, u32::MAX].map(seconds), [Some(300); 3]);
    }

    #[test]
    fn a_few_mistakes_are_free_then_it_takes_longer_and_longer() {
        let (throttle, now) = (Throttle::new(100), Instant::now());
        for _ in 0..PAUSES.free {
            assert_eq!(throttle.attempt(&[("a", PAUSES)], now), Ok(()));
        }
        let first = throttle.attempt(&[("a", PAUSES)], now).unwrap_err();
        assert_eq!(throttle.attempt(&[("a", PAUSES)], now + first), Ok(()));
        assert!(throttle.attempt(&[("a", PAUSES)], now + first).unwrap_err() > first);
        assert_eq!(throttle.attempt(&[("b", PAUSES)], now), Ok(()));
        throttle.succeeded([&"a"]);
        assert_eq!(throttle.attempt(&[("a", PAUSES)], now), Ok(()));
    }

    #[test]
    fn an_attempt_that_is_taken_back_lets_the_next_one_through_at_once() {
        let (throttle, now) = (Throttle::new(100), Instant::now());
        for _ in 0..PAUSES.free {
            throttle.attempt(&[("a", PAUSES)], now).unwrap();
        }
        let wait = throttle.attempt(&[("a", PAUSES)], now).unwrap_err();
        assert_eq!(throttle.attempt(&[("a", PAUSES)], now + wait), Ok(()));
        throttle.take_back([&"a"]);
        assert_eq!(throttle.attempt(&[("a", PAUSES)], now + wait), Ok(()));
        assert!(
            throttle.attempt(&[("a", PAUSES)], now + wait).is_err(),
            "the failures before it still count"
        );
    }

    #[test]
    fn the_longest_pause_of_all_keys_counts() {
        let (throttle, now) = (Throttle::new(100), Instant::now());
        let strict = Pauses { free: 0, ..PAUSES };
        assert_eq!(throttle.attempt(&[("pair", PAUSES), ("address", strict)], now), Ok(()));
        assert!(throttle.attempt(&[("other", PAUSES), ("address", strict)], now).is_err());
        assert_eq!(throttle.attempt(&[("pair", PAUSES)], now), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_a_full_one_still_counts_newcomers() {
        let (throttle, now) = (Throttle::new(10), Instant::now());
        for key in 0..100 {
            assert_eq!(throttle.attempt(&[(key, PAUSES)], now), Ok(()));
        }
        let later = now + Duration::from_secs(1);
        for _ in 0..PAUSES.free {
            assert_eq!(throttle.attempt(&[(1000, PAUSES)], later), Ok(()));
        }
        assert!(throttle.attempt(&[(1000, PAUSES)], later).is_err(), "a full memory lets everybody guess");
        assert_eq!(lock(&throttle.failures).len(), 10);
    }
}
