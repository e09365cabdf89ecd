//! Slows down guessing of passwords: after a few failures an address must wait, longer each time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FREE: u32 = 5;
const LONGEST: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;

/// Failures by e-mail address. A hint of this instance alone; nothing is lost with it.
#[derive(Default)]
pub(crate) struct LoginThrottle(Mutex<HashMap<String, (u32, Instant)>>);

impl LoginThrottle {
    /// How long this address must wait before its next attempt.
    pub(crate) fn wait(&self, email: &str, now: Instant) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = failures.get(email)?;
        let pause = Duration::from_secs(1 << count.checked_sub(FREE)?.min(8)).min(LONGEST);
        pause.checked_sub(now.saturating_duration_since(*last)).filter(|left| !left.is_zero())
    }

    pub(crate) fn failed(&self, email: &str, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (_, last)| now.saturating_duration_since(*last) < LONGEST);
        }
        if failures.len() < MOST || failures.contains_key(email) {
            let entry = failures.entry(email.to_owned()).or_insert((0, now));
            *entry = (entry.0.saturating_add(1), now);
        }
    }

    pub(crate) fn succeeded(&self, email: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(email);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_mistakes_are_free_then_it_takes_longer_and_longer() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(throttle.wait("a@b", now), None);
            throttle.failed("a@b", now);
        }
        let first = throttle.wait("a@b", now).unwrap();
        throttle.failed("a@b", now);
        assert!(throttle.wait("a@b", now).unwrap() > first);
        assert_eq!(throttle.wait("a@b", now + LONGEST), None);
        assert_eq!(throttle.wait("c@d", now), None);
        throttle.succeeded("a@b");
        assert_eq!(throttle.wait("a@b", now), None);
    }
}
