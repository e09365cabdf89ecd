//! A token bucket: a sustained rate, and a burst on top of it.

use std::time::{Duration, Instant};

/// A rate: tokens a second, sustained, and the burst that is allowed on top.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Tokens a second, sustained.
    pub per_second: u32,
    /// Tokens that may be spent at once.
    pub burst: u32,
}

/// A token bucket: the tokens that are left of a rate's burst, and since when.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst.into(), at: now }
    }

    /// Takes from the bucket, into debt if need be.
    pub fn spend(&mut self, amount: usize) {
        // An amount beyond 32 bits counts as the largest: nobody sends as much at once.
        self.left -= u32::try_from(amount).map_or(f64::from(u32::MAX), f64::from);
    }

    /// How long until the bucket is out of debt.
    pub fn delay(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / self.per_second()))
    }

    /// Whether the bucket is full, and so as good as a new one.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= self.rate.burst.into()
    }

    fn refill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second();
        self.left = (self.left + earned).min(self.rate.burst.into());
        self.at = now;
    }

    fn per_second(&self) -> f64 {
        self.rate.per_second.max(1).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_free_and_a_debt_is_paid_off_at_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 10, burst: 20 }, now);
        bucket.spend(20);
        assert_eq!(bucket.delay(now), None);
        bucket.spend(5);
        assert_eq!(bucket.delay(now), Some(Duration::from_millis(500)));
        let later = now + Duration::from_secs(1);
        assert_eq!(bucket.delay(later), None);
        assert!(!bucket.is_full(later) && bucket.is_full(now + Duration::from_secs(60)));
    }
}
