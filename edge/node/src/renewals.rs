//! When to ask for new papers, and how soon again. Pure; the registrar asks.

use noderr_link::LinkState;
use noderr_part::Backoff;
use noderr_protocol::enrol::renewal_due;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long the broker must have been out of reach before new papers may know a better place.
const OUT_OF_REACH: Duration = Duration::from_secs(900);
/// The time between two renewals for that reason: each costs a certificate.
const OUT_OF_REACH_EVERY: Duration = Duration::from_secs(3600);

/// Why new papers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A third of the certificate's life has gone, or it is not good at all now.
    Calendar,
    /// The broker turned the node away: its certificate may not be on record, in a database that was restored.
    TurnedAway,
    /// The broker has been out of reach for long; it may have moved.
    OutOfReach,
}

/// What the registrar remembers of its attempts.
pub(crate) struct Renewals {
    pauses: Backoff,
    /// When the next attempt may be made.
    next: Option<Instant>,
    last: Option<Instant>,
    down_since: Option<Instant>,
}

impl Renewals {
    pub(crate) const fn new() -> Self {
        let pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(900));
        Self { pauses, next: None, last: None, down_since: None }
    }

    /// Notes the state of the link.
    pub(crate) fn note(&mut self, link: &LinkState, now: Instant) {
        match link {
            LinkState::Up { .. } => {
                self.down_since = None;
                // Whatever was asked for has helped.
                if self.last.is_some_and(|last| now.duration_since(last) > Duration::from_secs(60)) {
                    self.pauses.reset();
                    self.next = None;
                }
            }
            LinkState::Down(_) | LinkState::TurnedAway => {
                self.down_since.get_or_insert(now);
            }
        }
    }

    /// Why to ask for new papers now, if there is a reason. `life` is the certificate's, if it can be read; `unix_s` is the
    /// time, if anybody has vouched for it.
    pub(crate) fn reason(
        &self,
        life: Option<&RangeInclusive<i64>>,
        unix_s: Option<i64>,
        link: &LinkState,
        now: Instant,
    ) -> Option<Reason> {
        // A clock that nobody has vouched for must not decide that a certificate has to be renewed, nor whether a new one is
        // any good.
        let unix_s = unix_s?;
        if life.is_none_or(|life| is_due(life, unix_s)) {
            return Some(Reason::Calendar);
        }
        if *link == LinkState::TurnedAway {
            return Some(Reason::TurnedAway);
        }
        let long =
            |since: Option<Instant>, least| since.is_none_or(|since| now.duration_since(since) >= least);
        let out_of_reach = self.down_since.is_some() && long(self.down_since, OUT_OF_REACH);
        (out_of_reach && long(self.last, OUT_OF_REACH_EVERY)).then_some(Reason::OutOfReach)
    }

    /// How long to wait before the next attempt.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// Notes an attempt, whatever has come of it.
    pub(crate) fn tried(&mut self, now: Instant) {
        (self.last, self.next) = (Some(now), Some(now + self.pauses.pause()));
    }
}

/// Whether renewal is due. A certificate of the future comes from a control plane whose clock was wrong, and is of no use.
const fn is_due(life: &RangeInclusive<i64>, now: i64) -> bool {
    now < *life.start() || now >= renewal_due(*life.start(), *life.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: LinkState = LinkState::Up { connects: 1, round_trip: None };
    const LIFE: RangeInclusive<i64> = 1000..=4000;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_has_gone_or_it_is_of_the_future() {
        assert!(!is_due(&LIFE, 1000) && !is_due(&LIFE, 1999));
        assert!(is_due(&LIFE, 2000) && is_due(&LIFE, 5000) && is_due(&LIFE, 999));
    }

    #[test]
    fn being_turned_away_is_answered_at_once_and_then_more_and_more_seldom() {
        let (mut renewals, mut now) = (Renewals::new(), Instant::now());
        let (begin, mut tries) = (now, 0);
        while now < begin + Duration::from_secs(6 * 3600) {
            assert_eq!(
                renewals.reason(Some(&LIFE), Some(1500), &LinkState::TurnedAway, now),
                Some(Reason::TurnedAway)
            );
            now += renewals.pause(now);
            renewals.tried(now);
            tries += 1;
        }
        // The control plane allows twenty an hour.
        assert!((24..=70).contains(&tries), "{tries}");
    }

    #[test]
    fn a_broker_that_is_out_of_reach_for_long_may_have_moved() {
        let (mut renewals, now) = (Renewals::new(), Instant::now());
        let down = LinkState::Down(None);
        let reason = |renewals: &Renewals, after| {
            renewals.reason(Some(&LIFE), Some(1500), &down, now + Duration::from_secs(after))
        };
        renewals.note(&down, now);
        assert_eq!(reason(&renewals, 899), None);
        assert_eq!(reason(&renewals, 900), Some(Reason::OutOfReach));
        renewals.tried(now + Duration::from_secs(900));
        assert_eq!(reason(&renewals, 4499), None);
        assert_eq!(reason(&renewals, 4500), Some(Reason::OutOfReach));
        renewals.note(&UP, now + Duration::from_secs(5000));
        assert_eq!(renewals.reason(Some(&LIFE), Some(1500), &UP, now + Duration::from_secs(9000)), None);
    }

    #[test]
    fn without_a_time_that_somebody_vouched_for_nothing_is_renewed() {
        let renewals = Renewals::new();
        assert_eq!(renewals.reason(None, None, &LinkState::TurnedAway, Instant::now()), None);
        assert_eq!(renewals.reason(None, Some(1500), &UP, Instant::now()), Some(Reason::Calendar));
    }
}
