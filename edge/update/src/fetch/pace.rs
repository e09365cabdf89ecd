//! How fast a transfer may be.

use std::time::Duration;
use tokio::time::Instant;

/// The pace of a transfer: so many bytes a second at most, over any time longer than a second.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// Until when what has come uses the line up.
    used_until: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), used_until: Instant::now() }
    }

    /// How long to wait before more may come, now that so many bytes have.
    pub(super) fn after(&mut self, bytes: u64, now: Instant) -> Duration {
        let takes = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_s);
        // What was not used up to a moment ago is gone.
        self.used_until = self.used_until.max(now) + takes;
        self.used_until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_faster_than_it_may_waits_and_what_was_not_used_is_gone() {
        let (mut pace, now) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.after(500, now).as_millis() / 10, 50);
        assert_eq!(pace.after(500, now).as_millis() / 10, 100);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.after(100, later).as_millis() / 10, 10);
    }
}
