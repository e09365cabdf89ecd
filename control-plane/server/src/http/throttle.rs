//! Slows down guessing of passwords: after a few failures one must wait, longer each time. Counted for an account and
//! an address together, so that nobody can lock somebody else out, and for an address alone, whatever it tries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FREE: u32 = 5;
const FREE_OF_ADDRESS: u32 = 30;
const LONGEST: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;

/// Whose failures: of an address, with an account or with any.
type Key = (IpAddr, Option<String>);

/// Failures so far. A hint of this instance alone; nothing is lost with it.
#[derive(Default)]
pub(crate) struct LoginThrottle(Mutex<HashMap<Key, (u32, Instant)>>);

impl LoginThrottle {
    /// Lets an attempt of this address with this account through, and counts it as failed until it has succeeded:
    /// many at once are many. Or says how long to wait.
    pub(crate) fn attempt(&self, address: IpAddr, email: &str, now: Instant) -> Result<(), Duration> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(address, email);
        let wait = keys.iter().filter_map(|(key, free)| {
            let (count, last) = failures.get(key)?;
            let pause = Duration::from_secs(1 << count.checked_sub(*free)?.min(8)).min(LONGEST);
            pause.checked_sub(now.saturating_duration_since(*last)).filter(|left| !left.is_zero())
        });
        if let Some(wait) = wait.max() {
            return Err(wait);
        }
        if failures.len() >= MOST {
            failures.retain(|_, (_, last)| now.saturating_duration_since(*last) < LONGEST);
        }
        for (key, _) in keys {
            if failures.len() < MOST || failures.contains_key(&key) {
                let entry = failures.entry(key).or_insert((0, now));
                *entry = (entry.0.saturating_add(1), now);
            }
        }
        Ok(())
    }

    pub(crate) fn succeeded(&self, address: IpAddr, email: &str) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(address, email) {
            failures.remove(&key);
        }
    }
}

fn keys(address: IpAddr, email: &str) -> [(Key, u32); 2] {
    [((address, Some(email.to_owned())), FREE), ((address, None), FREE_OF_ADDRESS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_few_mistakes_are_free_then_it_takes_longer_and_longer() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(throttle.attempt(HOME, "a@b", now), Ok(()));
        }
        let first = throttle.attempt(HOME, "a@b", now).unwrap_err();
        assert_eq!(throttle.attempt(HOME, "a@b", now + first), Ok(()));
        assert!(throttle.attempt(HOME, "a@b", now + first).unwrap_err() > first);
        assert_eq!(throttle.attempt(HOME, "c@d", now), Ok(()));
        throttle.succeeded(HOME, "a@b");
        assert_eq!(throttle.attempt(HOME, "a@b", now), Ok(()));
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits_and_locks_nobody_else_out() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        for n in 0..FREE_OF_ADDRESS {
            assert_eq!(throttle.attempt(HOME, &format!("{n}@b"), now), Ok(()));
        }
        assert!(throttle.attempt(HOME, "new@b", now).is_err());
        assert_eq!(throttle.attempt(IpAddr::from([10, 0, 0, 1]), "0@b", now), Ok(()));
    }
}
