//! How often to ask for the time. Pure; the registrar asks.

use noderr_link::LinkState;
use noderr_part::Backoff;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Hourly; soon again after a failure or while the answer is in doubt; and when there is no session, because a clock that is
/// wrong, here or there, is a reason for that.
pub(crate) struct ClockPace {
    failures: Backoff,
    /// While there is no session.
    down: Backoff,
    is_down: bool,
    /// Between two answers that are to overcome a doubt: often enough that they fit into the patience.
    doubt: Duration,
    next: Instant,
}

impl ClockPace {
    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        let doubt = (patience / 8).clamp(Duration::from_secs(1), LOOK_EVERY);
        let failures = Backoff::new(Duration::from_secs(1), LOOK_EVERY);
        let down = Backoff::new(doubt, 10 * doubt);
        Self { failures, down, is_down: false, doubt, next: now }
    }

    /// Notes the state of the link.
    pub(crate) fn note(&mut self, link: &LinkState, now: Instant) {
        let is_down = matches!(link, LinkState::Down(Some(_)));
        if is_down && !self.is_down {
            self.down.reset();
            self.next = self.next.min(now + self.down.pause());
        }
        self.is_down = is_down;
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Notes an answer, or that there was none.
    pub(crate) fn asked(&mut self, set: bool, in_doubt: bool, now: Instant) {
        let pause = if in_doubt {
            self.doubt
        } else if !set {
            self.failures.pause()
        } else if self.is_down {
            self.down.pause()
        } else {
            HOUR
        };
        if set {
            self.failures.reset();
        }
        self.next = now + pause;
    }

    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3600);

    fn down() -> LinkState {
        LinkState::Down(Some("no".to_owned()))
    }

    #[test]
    fn a_lost_session_asks_within_a_minute_and_then_more_and_more_seldom() {
        let start = Instant::now();
        let mut pace = ClockPace::new(PATIENCE, start);
        assert!(pace.is_due(start));
        pace.asked(true, false, start);
        assert_eq!(pace.pause(start), HOUR);
        pace.note(&down(), start);
        assert!(pace.pause(start) <= LOOK_EVERY);
        let (mut now, mut asked) = (start, 0);
        while now < start + HOUR {
            now += pace.pause(now);
            pace.note(&down(), now);
            pace.asked(true, false, now);
            asked += 1;
        }
        assert!((5..=20).contains(&asked), "{asked}");
    }

    #[test]
    fn answers_in_doubt_are_asked_for_often_enough_to_overcome_it() {
        let start = Instant::now();
        for patience in [8, 60, 3600] {
            let mut pace = ClockPace::new(Duration::from_secs(patience), start);
            pace.asked(false, true, start);
            assert!(pace.pause(start) * 5 <= Duration::from_secs(patience));
        }
    }
}
