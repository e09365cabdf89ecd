//! Which records have been sent, and which of them are known to be committed: pure bookkeeping, no clock of
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
    /// The ticket of the message that carries the batch.
    ticket: u64,
    lane: Lane,
    last: u64,
    sent: Instant,
    /// When the broker confirmed the batch, or when its lane last got marks since. A batch that the broker has not confirmed is
    /// still on the line.
    waits_since: Option<Instant>,
}

impl Window {
    /// The number behind which the reading of a lane goes on.
    pub(crate) const fn cursor(&self, lane: Lane) -> u64 {
        self.cursors[lane as usize]
    }

    /// Whether another batch may go, where `most` may be under way at once.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        self.under_way.len() < most.min(BATCHES)
    }

    /// Notes that a batch up to `last` was sent.
    pub(crate) fn sent(&mut self, ticket: u64, lane: Lane, last: Position, now: Instant) {
        self.cursors[lane as usize] = last.seq;
        self.under_way.push_back(Batch { ticket, lane, last: last.seq, sent: now, waits_since: None });
    }

    /// Notes that the broker has confirmed a message.
    pub(crate) fn confirmed(&mut self, ticket: u64, now: Instant) {
        if let Some(batch) = self.under_way.iter_mut().find(|batch| batch.ticket == ticket) {
            batch.waits_since = Some(now);
        }
    }

    /// Removes the batches that the server has committed; returns how long the newest of them took.
    pub(crate) fn marks(&mut self, marks: &HighWaterMarks, now: Instant) -> Option<Duration> {
        let mut took = None;
        self.under_way.retain_mut(|batch| {
            let Some(mark) = marks.marks.iter().find(|mark| mark.lane == batch.lane.tag()) else {
                return true;
            };
            if let Some(since) = &mut batch.waits_since {
                *since = now;
            }
            let waits = mark.through.seq < batch.last;
            if !waits {
                took = Some(now.saturating_duration_since(batch.sent));
            }
            waits
        });
        took
    }

    /// Since when the longest waiting batch waits for its marks. Each lane waits for itself: marks of a lane say nothing of
    /// another.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.under_way.iter().filter_map(|batch| batch.waits_since).min()
    }

    /// How many batches of a lane are under way.
    pub(crate) fn under_way(&self, lane: Lane) -> usize {
        self.under_way.iter().filter(|batch| batch.lane == lane).count()
    }

    /// Whether anything of a lane is under way.
    pub(crate) fn is_under_way(&self, lane: Lane) -> bool {
        self.under_way(lane) > 0
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

    /// A batch that the broker has confirmed at once.
    fn send(window: &mut Window, lane: Lane, seq: u64, now: Instant) {
        window.sent(seq, lane, Position { epoch: 1, seq }, now);
        window.confirmed(seq, now);
    }

    #[test]
    fn room_runs_out_and_comes_back_with_the_marks() {
        let (mut window, now) = (Window::default(), Instant::now());
        for n in 1..=BATCHES as u64 {
            assert!(window.has_room(BATCHES));
            send(&mut window, Lane::Result, n * 10, now);
        }
        assert!(!window.has_room(BATCHES));
        let later = now + Duration::from_secs(3);
        assert_eq!(window.marks(&marks(Lane::Alert, 1000), later), None, "another lane's mark");
        assert_eq!(window.marks(&marks(Lane::Result, 25), later), Some(Duration::from_secs(3)));
        assert!(window.has_room(BATCHES) && !window.has_room(1));
        assert_eq!(window.cursor(Lane::Result), BATCHES as u64 * 10);
    }

    #[test]
    fn what_is_still_on_the_line_does_not_stand_still() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.sent(7, Lane::Telemetry, Position { epoch: 1, seq: 9 }, now);
        assert_eq!(window.waits_since(), None);
        let arrived = now + Duration::from_secs(90);
        window.confirmed(7, arrived);
        assert_eq!(window.waits_since(), Some(arrived));
    }

    #[test]
    fn a_lane_that_stands_still_is_noticed_beside_one_that_moves() {
        let (mut window, now) = (Window::default(), Instant::now());
        send(&mut window, Lane::Alert, 1, now);
        for second in 2..=30 {
            let then = now + Duration::from_secs(second);
            send(&mut window, Lane::Telemetry, second, then);
            window.marks(&marks(Lane::Telemetry, second), then);
        }
        assert_eq!(window.waits_since(), Some(now));
        window.marks(&marks(Lane::Alert, 1), now);
        assert_eq!(window.waits_since(), None);
    }

    #[test]
    fn a_lane_that_moves_slowly_does_not_stand_still() {
        let (mut window, now) = (Window::default(), Instant::now());
        send(&mut window, Lane::Telemetry, 10, now);
        send(&mut window, Lane::Telemetry, 20, now);
        let later = now + Duration::from_secs(15);
        window.marks(&marks(Lane::Telemetry, 10), later);
        assert_eq!(window.waits_since(), Some(later));
    }

    #[test]
    fn a_rewind_forgets_everything_that_was_sent() {
        let (mut window, now) = (Window::default(), Instant::now());
        send(&mut window, Lane::Telemetry, 9, now);
        window.rewind();
        assert_eq!(window.waits_since(), None);
        assert_eq!(window.cursor(Lane::Telemetry), 0);
    }
}
