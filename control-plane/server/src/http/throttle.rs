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
    /// How long this address must wait before its next attempt with this account.
    pub(crate) fn wait(&self, address: IpAddr, email: &str, now: Instant) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys(address, email)
            .into_iter()
            .filter_map(|(key, free)| {
                let (count, last) = failures.get(&key)?;
                let pause = Duration::from_secs(1 << count.checked_sub(free)?.min(8)).min(LONGEST);
                pause.checked_sub(now.saturating_duration_since(*last)).filter(|left| !left.is_zero())
            })
            .max()
    }

    pub(crate) fn failed(&self, address: IpAddr, email: &str, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (_, last)| now.saturating_duration_since(*last) < LONGEST);
        }
        for (key, _) in keys(address, email) {
            if failures.len() < MOST || failures.contains_key(&key) {
                let entry = failures.entry(key).or_insert((0, now));
                *entry = (entry.0.saturating_add(1), now);
            }
        }
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
            assert_eq!(throttle.wait(HOME, "a@b", now), None);
            throttle.failed(HOME, "a@b", now);
        }
        let first = throttle.wait(HOME, "a@b", now).unwrap();
        throttle.failed(HOME, "a@b", now);
        assert!(throttle.wait(HOME, "a@b", now).unwrap() > first);
        assert_eq!(throttle.wait(HOME, "a@b", now + LONGEST), None);
        assert_eq!(throttle.wait(HOME, "c@d", now), None);
        throttle.succeeded(HOME, "a@b");
        assert_eq!(throttle.wait(HOME, "a@b", now), None);
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits_and_locks_nobody_else_out() {
        let (throttle, now) = (LoginThrottle::default(), Instant::now());
        for n in 0..FREE_OF_ADDRESS {
            throttle.failed(HOME, &format!("{n}@b"), now);
        }
        assert!(throttle.wait(HOME, "new@b", now).is_some());
        assert_eq!(throttle.wait(IpAddr::from([10, 0, 0, 1]), "0@b", now), None);
    }
}
