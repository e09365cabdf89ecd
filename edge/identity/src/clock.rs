//! The time the box may believe. Boxes without a battery wake up in 1970; certificates do not forgive that.
//!
//! The trusted clock counts on, by the monotonic clock, from the last time that the control plane vouched
//! for, so that nobody who can set the system clock can move the trusted clock. Before the control plane has
//! vouched for a time, the trusted clock is the system clock, corrected by its last known error where that
//! makes sense, and never before the latest time that the box has seen.

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
    floor_ms: i64,
    vouched: bool,
}

/// How far back a vouched time may go: clocks of several control planes differ, and are corrected now and
/// then.
const TOLERANCE_MS: i64 = 3_600_000;

/// The control plane's time is before a time that was vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the control plane says it is {unix_ms} ms after 1970, which is long before {latest_ms}, the latest time it has \
     vouched for; if that one was wrong, remove boot.json from the data folder and start again"
)]
pub struct Backwards {
    unix_ms: i64,
    latest_ms: i64,
}

/// What a start of the node knows from the start before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// The latest time that was ever vouched for, in milliseconds since the Unix epoch.
    pub vouched_ms: i64,
    /// How far the system clock was ahead of the vouched time then.
    pub system_ahead_ms: i64,
}

impl TrustedClock {
    /// Starts from the system clock and what the start before knew of it.
    pub fn new(last: LastSeen) -> Self {
        let unix_ms = best_guess(system_ms(), last);
        let state = State { at: Instant::now(), unix_ms, floor_ms: last.vouched_ms, vouched: false };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// What to remember for the next start; `None` if no time was vouched for since this start.
    pub fn last_seen(&self) -> Option<LastSeen> {
        let (vouched_ms, system_ahead_ms) = (self.now_ms(), self.system_offset_ms());
        self.is_vouched().then_some(LastSeen { vouched_ms, system_ahead_ms })
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let state = *self.state.read().unwrap_or_else(PoisonError::into_inner);
        let elapsed = i64::try_from(state.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        state.unix_ms.saturating_add(elapsed)
    }

    /// Sets the clock to what the control plane vouched for just now. An earlier time than the latest that was vouched
    /// for is refused: whoever holds an old server key could turn the clock back to when its certificate was good.
    pub fn vouch(&self, unix_ms: i64) -> Result<(), Backwards> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let latest_ms = if state.vouched { state.unix_ms } else { state.floor_ms };
        if unix_ms < latest_ms.saturating_sub(TOLERANCE_MS) {
            return Err(Backwards { unix_ms, latest_ms });
        }
        *state = State { at: Instant::now(), unix_ms, vouched: true, ..*state };
        Ok(())
    }

    /// Whether the control plane has vouched for this clock since the start.
    pub fn is_vouched(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).vouched
    }

    /// How far the system clock is ahead of the trusted clock.
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

/// Guesses the time. Either the system clock is as wrong as it was, or somebody has set it since: of these
/// two readings, takes the earlier that is not before the last vouched time. If both are before that time,
/// takes the vouched time.
fn best_guess(system_ms: i64, last: LastSeen) -> i64 {
    let guesses = [system_ms, system_ms.saturating_sub(last.system_ahead_ms)];
    guesses.into_iter().filter(|guess| *guess >= last.vouched_ms).min().unwrap_or(last.vouched_ms)
}

fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365 * 86_400_000;

    fn seen(vouched_ms: i64) -> LastSeen {
        LastSeen { vouched_ms, system_ahead_ms: 0 }
    }

    #[test]
    fn never_starts_before_the_latest_time_seen() {
        let future = system_ms() + 86_400_000;
        assert!(TrustedClock::new(seen(future)).now_ms() >= future);
    }

    #[test]
    fn a_start_takes_into_account_how_wrong_the_system_clock_was() {
        let (then, later) = (50 * YEAR, 50 * YEAR + 5000);
        for (ahead, system_ms, expected) in [
            (20 * YEAR, later + 20 * YEAR, later),
            (-20 * YEAR, later - 20 * YEAR, later),
            // Somebody has set it meanwhile.
            (20 * YEAR, later, later),
            (-20 * YEAR, later, later),
            // A box without a battery begins in 1970 every time.
            (0, 1000, then),
            (0, later, later),
        ] {
            let last = LastSeen { vouched_ms: then, system_ahead_ms: ahead };
            assert_eq!(best_guess(system_ms, last), expected, "{ahead} ahead, the system says {system_ms}");
        }
    }

    #[test]
    fn what_is_vouched_for_replaces_the_system_clock() {
        let clock = TrustedClock::new(LastSeen::default());
        clock.vouch(1_000_000).unwrap();
        assert!((1_000_000..1_010_000).contains(&clock.now_ms()));
        assert!(clock.is_vouched() && clock.system_offset_ms() > 0);
    }

    #[test]
    fn an_earlier_time_than_one_that_was_vouched_for_is_refused_also_after_a_start() {
        let clock = TrustedClock::new(LastSeen::default());
        clock.vouch(2 * YEAR).unwrap();
        assert!(clock.vouch(YEAR).is_err());
        assert!(clock.vouch(2 * YEAR - 60_000).is_ok(), "clocks differ a little");
        assert!(TrustedClock::new(seen(2 * YEAR)).vouch(YEAR).is_err());
        // A box whose own clock is years ahead has not been told so by anybody.
        assert!(TrustedClock::new(LastSeen::default()).vouch(YEAR).is_ok());
    }
}
