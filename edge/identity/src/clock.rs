//! The time the box may believe. Boxes without a battery wake up in 1970; certificates do not forgive that.
//!
//! Counts on from the last time the control plane vouched for, by the monotonic clock, so that nobody who can set
//! the system clock can move it. Until it was vouched for, it is the system clock, but never before the latest
//! time the box has seen.

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be shared, and handed to rustls.
#[derive(Debug, Clone)]
pub struct TrustedClock {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    at: Instant,
    unix_ms: i64,
    vouched: bool,
}

impl TrustedClock {
    /// Starts from the system clock, or from `floor_ms` if the system clock is before it.
    pub fn new(floor_ms: i64) -> Self {
        let state = State { at: Instant::now(), unix_ms: system_ms().max(floor_ms), vouched: false };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let state = *self.state.read().unwrap_or_else(PoisonError::into_inner);
        let elapsed = i64::try_from(state.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        state.unix_ms.saturating_add(elapsed)
    }

    /// Sets the clock to what the control plane vouched for just now.
    pub fn vouch(&self, unix_ms: i64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { at: Instant::now(), unix_ms, vouched: true };
    }

    /// Whether the control plane has vouched for this clock since the start.
    pub fn is_vouched(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).vouched
    }

    /// How far the system clock is ahead of this one.
    pub fn system_offset_ms(&self) -> i64 {
        system_ms().saturating_sub(self.now_ms())
    }
}

impl TimeProvider for TrustedClock {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_starts_before_the_latest_time_seen() {
        let future = system_ms() + 86_400_000;
        assert!(TrustedClock::new(future).now_ms() >= future);
    }

    #[test]
    fn what_is_vouched_for_replaces_the_system_clock() {
        let clock = TrustedClock::new(0);
        clock.vouch(1_000_000);
        assert!((1_000_000..1_010_000).contains(&clock.now_ms()));
        assert!(clock.is_vouched() && clock.system_offset_ms() > 0);
    }
}
