//! Which records have been sent, and which of them are known to have arrived: pure bookkeeping, no clock of
//! its own, no socket.

use noderr_protocol::{HighWaterMarks, Lane, Position};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Batches that may be under way before the first is acknowledged.
const BATCHES: usize = 16;

/// The batches under way in one session.
#[derive(Debug, Default)]
pub(crate) struct Window {
    cursors: [u64; 3],
    under_way: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    lane: Lane,
    last: u64,
    sent: Instant,
    /// When the lane of the batch last got marks, or when the batch was sent.
    waits_since: Instant,
}

impl Window {
    /// The number behind which the reading of a lane goes on.
    pub(crate) const fn cursor(&self, lane: Lane) -> u64 {
        self.cursors[lane as usize]
    }

    pub(crate) fn has_room(&self) -> bool {
        self.under_way.len() < BATCHES
    }

    /// Notes that a batch up to `last` was sent.
    pub(crate) fn sent(&mut self, lane: Lane, last: Position, now: Instant) {
        self.cursors[lane as usize] = last.seq;
        self.under_way.push_back(Batch { lane, last: last.seq, sent: now, waits_since: now });
    }

    /// Removes the batches that the server has committed; returns how long the newest of them took.
    pub(crate) fn marks(&mut self, marks: &HighWaterMarks, now: Instant) -> Option<Duration> {
        let mut took = None;
        self.under_way.retain_mut(|batch| {
            let Some(mark) = marks.marks.iter().find(|mark| mark.lane == batch.lane.tag()) else {
                return true;
            };
            batch.waits_since = now;
            let waits = mark.through.seq < batch.last;
            if !waits {
                took = Some(now.saturating_duration_since(batch.sent));
            }
            waits
        });
        took
    }

    /// Since when the longest waiting batch waits. Each lane waits for itself: marks of a lane say nothing of
    /// another.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.under_way.iter().map(|batch| batch.waits_since).min()
    }

    /// Whether anything of a lane is under way.
    pub(crate) fn is_under_way(&self, lane: Lane) -> bool {
        self.under_way.iter().any(|batch| batch.lane == lane)
    }

    /// Starts one lane over from the oldest record that the spool still holds.
    pub(crate) fn rewind_lane(&mut self, lane: Lane) {
        self.cursors[lane as usize] = 0;
        self.under_way.retain(|batch| batch.lane != lane);
    }

    /// Starts all lanes over from the oldest record that the spool still holds.
    pub(crate) fn rewind(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::{BatchOutcome, LaneMark};

    fn marks(lane: Lane, seq: u64) -> HighWaterMarks {
        let through = Position { epoch: 1, seq };
        let marks = vec![LaneMark { lane: lane.tag(), through }].try_into().unwrap();
        HighWaterMarks { marks, outcome: BatchOutcome::Taken }
    }

    #[test]
    fn room_runs_out_and_comes_back_with_the_marks() {
        let (mut window, now) = (Window::default(), Instant::now());
        for n in 1..=BATCHES as u64 {
            assert!(window.has_room());
            window.sent(Lane::Result, Position { epoch: 1, seq: n * 10 }, now);
        }
        assert!(!window.has_room());
        let later = now + Duration::from_secs(3);
        assert_eq!(window.marks(&marks(Lane::Alert, 1000), later), None, "another lane's mark");
        assert_eq!(window.marks(&marks(Lane::Result, 25), later), Some(Duration::from_secs(3)));
        assert!(window.has_room());
        assert_eq!(window.cursor(Lane::Result), BATCHES as u64 * 10);
    }

    #[test]
    fn a_lane_that_stands_still_is_noticed_beside_one_that_moves() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.sent(Lane::Alert, Position { epoch: 1, seq: 1 }, now);
        for second in 1..=30 {
            let then = now + Duration::from_secs(second);
            window.sent(Lane::Telemetry, Position { epoch: 1, seq: second }, then);
            window.marks(&marks(Lane::Telemetry, second), then);
        }
        assert_eq!(window.waits_since(), Some(now));
        window.marks(&marks(Lane::Alert, 1), now);
        assert_eq!(window.waits_since(), None);
    }

    #[test]
    fn a_lane_that_moves_slowly_does_not_stand_still() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.sent(Lane::Telemetry, Position { epoch: 1, seq: 10 }, now);
        window.sent(Lane::Telemetry, Position { epoch: 1, seq: 20 }, now);
        let later = now + Duration::from_secs(15);
        window.marks(&marks(Lane::Telemetry, 10), later);
        assert_eq!(window.waits_since(), Some(later));
    }

    #[test]
    fn a_rewind_forgets_everything_that_was_sent() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.sent(Lane::Telemetry, Position { epoch: 1, seq: 9 }, now);
        window.rewind();
        assert_eq!(window.waits_since(), None);
        assert_eq!(window.cursor(Lane::Telemetry), 0);
    }
}
