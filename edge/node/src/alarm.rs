//! An alarm: says that something is wrong once, and that it is well again once it has been well for a while. What goes
//! to and fro says little, or its alerts would wear the disk out and push everything else out of it.

use std::time::{Duration, Instant};

/// How long something must have been well before that is said.
const WELL: Duration = Duration::from_secs(10);
/// What may be said in a row, and how soon one more after that.
const IN_A_ROW: u32 = 6;
const ONE_MORE: Duration = Duration::from_secs(600);

/// One thing that may be wrong.
pub(crate) struct Alarm {
    /// What was last said.
    said_ill: bool,
    ill_at: Option<Instant>,
    left: u32,
    refilled_at: Instant,
}

impl Alarm {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { said_ill: false, ill_at: None, left: IN_A_ROW, refilled_at: now }
    }

    /// Takes in how it is; returns how it is where that is to be said now.
    pub(crate) fn look(&mut self, ill: bool, now: Instant) -> Option<bool> {
        if ill {
            self.ill_at = Some(now);
        }
        let well = self.ill_at.is_none_or(|at| now.duration_since(at) >= WELL);
        let news = if self.said_ill { well.then_some(false) } else { ill.then_some(true) };
        news.filter(|_| self.may_say(now)).inspect(|ill| self.said_ill = *ill)
    }

    /// Whether one more alert may be written; counts it.
    pub(crate) fn may_say(&mut self, now: Instant) -> bool {
        while self.left < IN_A_ROW && now.duration_since(self.refilled_at) >= ONE_MORE {
            self.left += 1;
            self.refilled_at += ONE_MORE;
        }
        if self.left == IN_A_ROW {
            self.refilled_at = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of something that is looked at every second.
    fn said(seconds: u64, is_ill: impl Fn(u64) -> bool) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut alarm = Alarm::new(start);
        (0..seconds)
            .filter_map(|n| Some((n, alarm.look(is_ill(n), start + Duration::from_secs(n))?)))
            .collect()
    }

    #[test]
    fn each_change_is_said_once() {
        assert_eq!(said(100, |n| (20..50).contains(&n)), [(20, true), (59, false)]);
        assert_eq!(said(100, |_| false), []);
    }

    #[test]
    fn what_goes_to_and_fro_every_second_is_said_once() {
        assert_eq!(said(86_400, |n| n % 2 == 0).len(), 1);
    }

    #[test]
    fn what_goes_to_and_fro_slowly_is_said_now_and_then_and_its_end_is_not_forgotten() {
        let said = said(86_400, |n| n < 80_000 && n % 60 < 30);
        assert!((100..150).contains(&said.len()), "{}", said.len());
        assert_eq!(said.last().map(|(_, ill)| *ill), Some(false));
    }
}
