//! The time the box may believe. Boxes without a battery wake up in 1970; certificates do not forgive that.
//!
//! The trusted clock counts on, by the monotonic clock, from the last time that the control plane vouched
//! for, so that nobody who can set the system clock can move the trusted clock. Before the control plane has
//! vouched for a time, the trusted clock is the system clock, corrected by its last known error where that
//! makes sense, and never before the latest time that the box has seen.
//!
//! A control plane whose own clock is wrong must not strand its boxes. An answer that cannot be right, going by what the box
//! knows, is believed only after the control plane has kept saying the same for a while: so a box follows into the wrong
//! time, and back out of that time, by itself.

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be shared, and handed to rustls.
#[derive(Debug, Clone)]
pub struct TrustedClock {
    state: Arc<RwLock<State>>,
    /// How long the control plane must keep saying what cannot be right.
    patience: Duration,
}

#[derive(Debug, Clone, Copy)]
struct State {
    at: Instant,
    unix_ms: i64,
    floor_ms: i64,
    vouched: bool,
    doubt: Option<Doubt>,
}

/// What the control plane has kept saying against all likelihood.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Instant,
    unix_ms: i64,
    answers: u32,
}

/// How far back a vouched time may go: clocks of several control planes differ, and are corrected now and
/// then.
const TOLERANCE_MS: i64 = 3_600_000;
/// How far ahead of the trusted clock a time may be that is believed at once, while the trusted clock has counted on without
/// a break.
const AHEAD_MS: i64 = 86_400_000;
/// Answers that say the same differ by no more than this.
const SAME_MS: i64 = 60_000;
/// Answers that it takes to overcome a doubt.
const ANSWERS: u32 = 5;
/// No box has been in a time before this one: the beginning of November 2026, moved on with each release. The holder of an
/// old server key cannot turn a clock back behind it.
const NOT_BEFORE_MS: i64 = 1_793_491_200_000;

/// The control plane's time is not likely to be right, and is not believed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the control plane says it is {said_ms} ms after 1970, and this box has reason to believe {believed_ms}; the control \
     plane is believed when it has kept saying so for {patience:?}"
)]
pub struct InDoubt {
    said_ms: i64,
    believed_ms: i64,
    patience: Duration,
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
    pub fn new(last: LastSeen, patience: Duration) -> Self {
        let last = LastSeen { vouched_ms: last.vouched_ms.max(NOT_BEFORE_MS), ..last };
        let unix_ms = best_guess(system_ms(), last);
        let state =
            State { at: Instant::now(), unix_ms, floor_ms: last.vouched_ms, vouched: false, doubt: None };
        Self { state: Arc::new(RwLock::new(state)), patience }
    }

    /// What to remember for the next start; `None` if no time was vouched for since this start.
    pub fn last_seen(&self) -> Option<LastSeen> {
        let floor_ms = self.state.read().unwrap_or_else(PoisonError::into_inner).floor_ms;
        let (vouched_ms, system_ahead_ms) = (self.now_ms().max(floor_ms), self.system_offset_ms());
        self.is_vouched().then_some(LastSeen { vouched_ms, system_ahead_ms })
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let state = *self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.now_ms(Instant::now())
    }

    /// Sets the clock to what the control plane vouched for just now, or has kept vouching for long enough.
    pub fn vouch(&self, unix_ms: i64) -> Result<(), InDoubt> {
        self.vouch_at(unix_ms, Instant::now())
    }

    fn vouch_at(&self, said_ms: i64, at: Instant) -> Result<(), InDoubt> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let doubt = if state.is_likely(said_ms, at) { None } else { Some(state.doubt(said_ms, at)) };
        if let Some(doubt) = doubt {
            let overcome = doubt.answers >= ANSWERS && at.duration_since(doubt.since) >= self.patience;
            if !overcome || said_ms < NOT_BEFORE_MS {
                state.doubt = Some(doubt);
                return Err(InDoubt { said_ms, believed_ms: state.now_ms(at), patience: self.patience });
            }
        }
        // A little back is put up with and is no new floor: else a little would be added to a little with each start.
        let floor_ms = if doubt.is_some() { said_ms } else { said_ms.max(state.floor_ms) };
        *state = State { at, unix_ms: said_ms, floor_ms, vouched: true, doubt: None };
        Ok(())
    }

    /// How long the control plane must keep saying what cannot be right.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the control plane says a time that this box does not believe yet.
    pub fn is_in_doubt(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).doubt.is_some()
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

impl State {
    fn now_ms(&self, at: Instant) -> i64 {
        self.unix_ms.saturating_add(milliseconds(at.duration_since(self.at)))
    }

    /// Whether it may well be `said_ms`. How long a box was switched off nobody knows, so that after a start any later time
    /// is likely.
    fn is_likely(&self, said_ms: i64, at: Instant) -> bool {
        if !self.vouched {
            return said_ms >= self.floor_ms.saturating_sub(TOLERANCE_MS);
        }
        let believed_ms = self.now_ms(at);
        let earliest_ms = believed_ms.max(self.floor_ms).saturating_sub(TOLERANCE_MS);
        (earliest_ms..=believed_ms.saturating_add(AHEAD_MS)).contains(&said_ms)
    }

    /// The doubt with one more answer: the doubt that there is, if the answer agrees with it, and else a new one.
    fn doubt(&self, said_ms: i64, at: Instant) -> Doubt {
        let agrees = |doubt: &Doubt| {
            let expected_ms = doubt.unix_ms.saturating_add(milliseconds(at.duration_since(doubt.since)));
            said_ms.abs_diff(expected_ms) <= SAME_MS.unsigned_abs()
        };
        match self.doubt.filter(agrees) {
            Some(doubt) => Doubt { answers: doubt.answers.saturating_add(1), ..doubt },
            None => Doubt { since: at, unix_ms: said_ms, answers: 1 },
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
    const NOW: i64 = NOT_BEFORE_MS + YEAR;
    const PATIENCE: Duration = Duration::from_secs(3600);

    fn clock(vouched_ms: i64) -> TrustedClock {
        TrustedClock::new(LastSeen { vouched_ms, system_ahead_ms: 0 }, PATIENCE)
    }

    /// The control plane says every minute that it is `said_ms` and counting, for `minutes`; returns after how many minutes it
    /// was believed.
    fn insist(clock: &TrustedClock, from: Instant, said_ms: i64, minutes: u32) -> Option<u32> {
        (0..minutes).find(|minute| {
            let passed = Duration::from_secs(60) * *minute;
            clock.vouch_at(said_ms + milliseconds(passed), from + passed).is_ok()
        })
    }

    #[test]
    fn never_starts_before_the_latest_time_seen_nor_before_the_build() {
        let future = system_ms() + YEAR;
        assert!(clock(future).now_ms() >= future);
        assert!(clock(0).now_ms() >= NOT_BEFORE_MS);
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
        let clock = clock(0);
        clock.vouch(NOW).unwrap();
        assert!((NOW..NOW + 10_000).contains(&clock.now_ms()));
        assert!(clock.is_vouched() && !clock.is_in_doubt());
    }

    #[test]
    fn a_box_that_was_switched_off_for_years_is_told_the_time_at_once() {
        assert!(clock(NOW).vouch(NOW + 9 * YEAR).is_ok());
        // A box whose own clock is years ahead has not been told so by anybody.
        assert!(clock(0).vouch(NOW).is_ok());
    }

    #[test]
    fn a_clock_of_the_control_plane_that_is_wrong_for_a_while_and_repaired_strands_nobody() {
        for wrong in [NOW + 5 * YEAR, NOW - YEAR / 2] {
            let clock = clock(0);
            let start = Instant::now();
            clock.vouch_at(NOW, start).unwrap();
            assert_eq!(
                insist(&clock, start, wrong, 59),
                None,
                "one answer, or an hour of them, is not believed"
            );
            assert!(clock.is_in_doubt());
            let later = start + PATIENCE;
            assert!(clock.vouch_at(NOW + milliseconds(PATIENCE), later).is_ok() && !clock.is_in_doubt());
            assert_eq!(insist(&clock, later, wrong, 100), Some(60), "followed into the wrong time");
            let repaired = later + 2 * PATIENCE;
            assert_eq!(
                insist(&clock, repaired, NOW + 3 * milliseconds(PATIENCE), 100),
                Some(60),
                "and out of it"
            );
        }
    }

    #[test]
    fn a_start_while_the_clock_of_the_control_plane_was_wrong_strands_nobody_either() {
        let clock = clock(NOW + 5 * YEAR);
        assert_eq!(insist(&clock, Instant::now(), NOW, 100), Some(60));
    }

    #[test]
    fn answers_that_contradict_each_other_overcome_no_doubt() {
        let clock = clock(NOW);
        let start = Instant::now();
        for minute in 0..600 {
            let at = start + Duration::from_secs(60) * minute;
            let said = NOW - YEAR / 2 - i64::from(minute % 2) * YEAR / 4;
            assert!(clock.vouch_at(said, at).is_err());
        }
    }

    #[test]
    fn nobody_turns_a_clock_back_behind_the_build() {
        assert_eq!(insist(&clock(NOW), Instant::now(), NOT_BEFORE_MS - 2 * YEAR, 600), None);
    }

    #[test]
    fn no_number_of_starts_and_answers_leads_further_back_than_one_does() {
        let minute = 60_000;
        let mut last = LastSeen { vouched_ms: NOW, system_ahead_ms: 0 };
        for _ in 0..10 {
            let clock = TrustedClock::new(last, PATIENCE);
            for back in [59, 118, 177] {
                // What cannot be right is not believed, which is what this is about.
                let believed = clock.vouch(NOW - back * minute).is_ok();
                assert_eq!(believed, back == 59, "{back} minutes back");
            }
            assert!(clock.now_ms() >= NOW - 60 * minute);
            last = clock.last_seen().unwrap();
            assert!(last.vouched_ms >= NOW, "the floor has sunk");
        }
    }
}
