//! The limiter: a bucket for each of many keys. Its memory is bounded, and a full limiter refuses new keys
//! rather than let everybody through.

use crate::bucket::{Bucket, Rate};
use crate::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Holds every key to one rate.
pub struct Limiter<K> {
    rate: Rate,
    most: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Hash + Eq> Limiter<K> {
    /// A limiter that remembers at most `most` keys that have spent tokens.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, buckets: Mutex::default() }
    }

    /// How long `key` must wait before there is a token to spend.
    pub fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        lock(&self.buckets).get_mut(key)?.delay(now)
    }

    /// Spends one token of `key`; or says how long `key` must wait, and spends nothing.
    pub fn spend(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= self.most && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= self.most {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key).or_insert_with(|| Bucket::new(self.rate, now));
        match bucket.delay(now) {
            Some(wait) => Err(wait),
            None => {
                bucket.spend(1);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 1, burst: 2 };

    #[test]
    fn each_key_pays_for_itself_and_is_let_in_again() {
        let (limiter, now) = (Limiter::new(RATE, 10), Instant::now());
        while limiter.spend("flood", now).is_ok() {}
        assert_eq!(limiter.spend("calm", now), Ok(()));
        let wait = limiter.spend("flood", now).unwrap_err();
        assert_eq!(limiter.spend("flood", now + wait), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_a_full_house_lets_no_newcomer_through() {
        let (limiter, now) = (Limiter::new(RATE, 3), Instant::now());
        for key in 0..3 {
            limiter.spend(key, now).unwrap();
        }
        assert!(limiter.spend(3, now).is_err());
        assert_eq!(limiter.spend(0, now), Ok(()), "who is known is served");
        assert_eq!(limiter.spend(3, now + Duration::from_secs(9)), Ok(()), "full buckets are forgotten");
        assert!(lock(&limiter.buckets).len() <= 3);
    }
}
