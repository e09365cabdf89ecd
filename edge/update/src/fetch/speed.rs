//! How fast a server is, over all that was asked of it: whoever sends a little now and then is slow, however much or little was asked
//! for. Only the time counts in which the server is waited for, so that the box's own pace is held against nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The time over which the speed of a server is looked at.
const SPELL: Duration = Duration::from_secs(60);
/// The slowest server that is put up with, in bytes a second: half of the slowest line that a box may have.
const SLOWEST: u64 = 2000;
/// The slowest server that is put up with while there are others to ask.
const SLOWEST_OF_MANY: u64 = 32_000;

/// Whom a server is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// There is nobody else to ask.
    Nobody,
    /// There are others who were not asked yet.
    Others,
}

/// The speed of a server. Clones are of the same server.
#[derive(Debug, Clone)]
pub(crate) struct Speed(Arc<Mutex<Spell>>);

/// A minute of waiting, in which so much must come.
#[derive(Debug)]
struct Spell {
    beside: Beside,
    due: u64,
    waited: Duration,
}

impl Spell {
    const fn begin(beside: Beside) -> Self {
        Self { beside, due: Self::rate(beside) * SPELL.as_secs(), waited: Duration::ZERO }
    }

    const fn rate(beside: Beside) -> u64 {
        match beside {
            Beside::Nobody => SLOWEST,
            Beside::Others => SLOWEST_OF_MANY,
        }
    }

    fn come(&mut self, bytes: u64) {
        self.due = self.due.saturating_sub(bytes);
        if self.due == 0 {
            *self = Self::begin(self.beside);
        }
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Spell::begin(Beside::Nobody))))
    }
}

impl Speed {
    fn spell(&self) -> std::sync::MutexGuard<'_, Spell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is asked of the server. The way there takes a second, on a bad line, for which it can do nothing.
    pub(super) fn asked(&self, beside: Beside) {
        let mut spell = self.spell();
        if spell.beside != beside {
            *spell = Spell::begin(beside);
        }
        spell.come(Spell::rate(beside));
    }

    /// How long the server may still be waited for; nothing if it is too slow.
    pub(super) fn left(&self) -> Duration {
        SPELL.saturating_sub(self.spell().waited)
    }

    /// The server was waited for, and so much came.
    pub(super) fn waited(&self, time: Duration, bytes: u64) {
        let mut spell = self.spell();
        spell.waited += time;
        spell.come(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_little_now_and_then_is_not_enough_in_many_answers_either() {
        let speed = Speed::default();
        // Small ranges, each of which takes a minute less a second: the third is not waited for.
        let mut ranges = 0;
        while speed.left() > Duration::ZERO {
            speed.asked(Beside::Nobody);
            for _ in 0..59 {
                speed.waited(SECOND.min(speed.left()), 70);
            }
            ranges += 1;
        }
        assert_eq!(ranges, 2);
    }

    #[test]
    fn who_is_fast_enough_is_waited_for_without_an_end() {
        let speed = Speed::default();
        for _ in 0..1000 {
            speed.asked(Beside::Nobody);
            speed.waited(SECOND, 100);
            assert!(speed.left() > Duration::ZERO, "a far server with small ranges is too slow");
            speed.waited(SECOND, 2000);
        }
    }

    #[test]
    fn one_of_many_must_be_faster() {
        let speed = Speed::default();
        speed.asked(Beside::Others);
        for _ in 0..60 {
            speed.waited(SECOND, 20_000);
        }
        assert_eq!(speed.left(), Duration::ZERO);
        // As the only one, it is not.
        speed.asked(Beside::Nobody);
        assert_eq!(speed.left(), SPELL);
    }
}
