//! Growing, jittered pauses: a network that comes back must not be met by every box in the same second.

use rand::Rng as _;
use std::time::Duration;

/// The pauses between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause: somewhere between half and the whole of a value that doubles.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Goes back to the first pause; call it after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let pauses: Vec<_> = (0..6).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= Duration::from_secs(1));
        assert!(pauses[5] >= Duration::from_secs(4) && pauses[5] <= Duration::from_secs(8));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_secs(1));
    }
}
