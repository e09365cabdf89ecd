//! Which records have been sent and which are known to have arrived: pure bookkeeping, no clock, no socket.

use noderr_protocol::{HighWaterMarks, Lane, Position};
use std::collections::VecDeque;

/// Batches that may be under way before the first is acknowledged.
const BATCHES: usize = 16;

/// What is under way in one session.
#[derive(Debug, Default)]
pub(crate) struct Window {
    cursors: [u64; 3],
    under_way: VecDeque<(Lane, u64)>,
}

impl Window {
    /// Where reading of a lane goes on.
    pub(crate) const fn cursor(&self, lane: Lane) -> u64 {
        self.cursors[lane as usize]
    }

    pub(crate) fn has_room(&self) -> bool {
        self.under_way.len() < BATCHES
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// A batch up to `last` went out.
    pub(crate) fn sent(&mut self, lane: Lane, last: Position) {
        self.cursors[lane as usize] = last.seq;
        self.under_way.push_back((lane, last.seq));
    }

    /// The server has committed this much; returns whether anything that was under way has arrived.
    pub(crate) fn marks(&mut self, marks: &HighWaterMarks) -> bool {
        if marks.rewind {
            self.rewind();
            return false;
        }
        let before = self.under_way.len();
        self.under_way.retain(|(lane, last)| {
            !marks.marks.iter().any(|mark| mark.lane == *lane && mark.through.seq >= *last)
        });
        self.under_way.len() < before
    }

    /// Start over from the oldest record the spool still holds.
    pub(crate) fn rewind(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::LaneMark;

    fn marks(lane: Lane, seq: u64, rewind: bool) -> HighWaterMarks {
        let through = Position { epoch: 1, seq };
        HighWaterMarks { marks: vec![LaneMark { lane, through }].try_into().unwrap(), rewind }
    }

    #[test]
    fn room_runs_out_and_comes_back_with_the_marks() {
        let mut window = Window::default();
        for n in 1..=BATCHES as u64 {
            assert!(window.has_room());
            window.sent(Lane::Result, Position { epoch: 1, seq: n * 10 });
        }
        assert!(!window.has_room());
        assert!(!window.marks(&marks(Lane::Alert, 1000, false)), "another lane's mark");
        assert!(window.marks(&marks(Lane::Result, 25, false)));
        assert!(window.has_room() && !window.is_idle());
        assert_eq!(window.cursor(Lane::Result), BATCHES as u64 * 10);
    }

    #[test]
    fn a_rewind_forgets_everything_that_was_sent() {
        let mut window = Window::default();
        window.sent(Lane::Telemetry, Position { epoch: 1, seq: 9 });
        window.marks(&marks(Lane::Telemetry, 3, true));
        assert!(window.is_idle());
        assert_eq!(window.cursor(Lane::Telemetry), 0);
    }
}
