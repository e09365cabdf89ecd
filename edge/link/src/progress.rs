//! The progress of a session: which lanes to send next, and what an answer changes. No clock of its own, no
//! socket.

use crate::hold::Holds;
use crate::window::Window;
use noderr_protocol::{BatchOutcome, HighWaterMarks, Lane, LaneMark, Welcome};
use std::time::{Duration, Instant};

/// Rewinds of a lane in a row before the session begins anew.
const REWINDS: u32 = 2;
/// How long marks may stay out, at first, before the session sends again from the spool.
const STALL: Duration = Duration::from_secs(20);
const LONGEST_STALL: Duration = Duration::from_secs(600);

/// The progress of one session.
pub(crate) struct Progress {
    pub(crate) window: Window,
    /// The lanes that the control plane knows.
    lanes: Vec<Lane>,
    rewinds: [Rewinds; Lane::ALL.len()],
    /// Times in a row that the marks stayed out.
    stalls: u32,
    /// How long a batch last took until it was committed.
    round_trip: Duration,
}

/// What a lane was asked to send again.
#[derive(Debug, Clone, Copy, Default)]
struct Rewinds {
    /// Rewinds in a row.
    in_row: u32,
    /// Batches that were under way behind the hole: each is answered with a rewind of its own, which asks for nothing new.
    echoes: usize,
}

/// What the session does about an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// Batches have arrived; the newest of them took this long.
    Arrived(Duration),
    /// The control plane keeps asking for records that are gone. Only at a hello does the control plane put
    /// on record that it has lost records which this node was told to forget.
    Astray,
}

impl Progress {
    /// Begins a session with the answer to its hello.
    pub(crate) fn of(welcome: &Welcome) -> Self {
        Self {
            window: Window::default(),
            lanes: lanes_of(&welcome.marks),
            rewinds: Default::default(),
            stalls: 0,
            round_trip: Duration::ZERO,
        }
    }

    /// Whether another batch may go. After marks have stayed out, one at a time: a control plane that is slow must not be sent
    /// to death.
    pub(crate) fn has_room(&self) -> bool {
        self.window.has_room(if self.stalls == 0 { usize::MAX } else { 1 })
    }

    /// How long marks may stay out now: four times as long as they lately took, and twice as long each time.
    pub(crate) fn patience(&self) -> Duration {
        STALL.max(4 * self.round_trip).saturating_mul(1 << self.stalls.min(8)).min(LONGEST_STALL)
    }

    /// Begins again from the spool, because marks have stayed out.
    pub(crate) fn stalled(&mut self) {
        tracing::warn!(after = ?self.patience(), "no high-water mark; sending again from the spool");
        self.stalls += 1;
        self.window.rewind();
    }

    /// The lanes that may be sent now, the most important first.
    pub(crate) fn open_lanes(&self, holds: &Holds, now: Instant) -> Vec<Lane> {
        self.lanes.iter().copied().filter(|lane| !holds.is_held(*lane, now)).collect()
    }

    /// Applies an answer.
    pub(crate) fn heed(&mut self, marks: &HighWaterMarks, holds: &mut Holds, now: Instant) -> Heard {
        let about = lanes_of(&marks.marks);
        match marks.outcome {
            BatchOutcome::Taken => {
                let took = self.window.marks(marks, now);
                for lane in about {
                    self.rewinds[lane as usize] = Rewinds::default();
                    if !self.window.is_under_way(lane) {
                        holds.was_read(lane);
                    }
                }
                let Some(took) = took else { return Heard::Nothing };
                (self.stalls, self.round_trip) = (0, took);
                return Heard::Arrived(took);
            }
            // Batches under way behind unreadable records do not join on; the hold has taken care of their
            // lane already.
            BatchOutcome::Rewind if about.iter().all(|lane| holds.is_held(*lane, now)) => {}
            BatchOutcome::Rewind => {
                if about.into_iter().any(|lane| self.rewind(lane)) {
                    return Heard::Astray;
                }
            }
            // An outcome that this build does not know is no reason to delete records, nor to send them again
            // at once.
            BatchOutcome::Unreadable | BatchOutcome::Other(_) => {
                for lane in about {
                    self.window.rewind_lane(lane);
                    holds.hold(lane, now);
                }
            }
        }
        Heard::Nothing
    }

    /// Starts a lane over; returns whether the control plane has asked for that too often.
    fn rewind(&mut self, lane: Lane) -> bool {
        let under_way = self.window.under_way(lane);
        let rewinds = &mut self.rewinds[lane as usize];
        if rewinds.echoes > 0 {
            rewinds.echoes -= 1;
            return false;
        }
        *rewinds = Rewinds { in_row: rewinds.in_row + 1, echoes: under_way.saturating_sub(1) };
        let astray = rewinds.in_row > REWINDS;
        self.window.rewind_lane(lane);
        astray
    }
}

fn lanes_of(marks: &[LaneMark]) -> Vec<Lane> {
    let named = |lane: &Lane| marks.iter().any(|mark| mark.lane == lane.tag());
    Lane::ALL.into_iter().filter(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::{List, Position};

    fn marks(lanes: &[Lane], seq: u64) -> List<LaneMark, 8> {
        let mark = |lane: &Lane| LaneMark { lane: lane.tag(), through: Position { epoch: 1, seq } };
        lanes.iter().map(mark).collect::<Vec<_>>().try_into().unwrap()
    }

    fn answer(lanes: &[Lane], seq: u64, outcome: BatchOutcome) -> HighWaterMarks {
        HighWaterMarks { marks: marks(lanes, seq), outcome }
    }

    fn session() -> Progress {
        Progress::of(&Welcome { speaks: 1, facts: List::default(), marks: marks(&Lane::ALL, 0) })
    }

    fn begun() -> (Progress, Holds, Instant) {
        (session(), Holds::new(), Instant::now())
    }

    fn send(progress: &mut Progress, lane: Lane, last: u64, now: Instant) {
        progress.window.sent(last, lane, Position { epoch: 1, seq: last }, now);
    }

    #[test]
    fn a_lane_that_cannot_be_read_waits_alone_and_longer_each_time() {
        let (mut progress, mut holds, now) = begun();
        send(&mut progress, Lane::Result, 5, now);
        send(&mut progress, Lane::Telemetry, 9, now);
        progress.heed(&answer(&[Lane::Result], 0, BatchOutcome::Unreadable), &mut holds, now);
        assert_eq!(progress.open_lanes(&holds, now), [Lane::Alert, Lane::Telemetry]);
        assert!(progress.window.is_under_way(Lane::Telemetry) && !progress.window.is_under_way(Lane::Result));
        assert_eq!(progress.window.cursor(Lane::Result), 0, "it is sent again from the oldest");
        let first = holds.next_end(now).unwrap();
        assert_eq!(progress.open_lanes(&holds, first).len(), 3);
        // Telemetry that is read meanwhile says nothing about results.
        progress.heed(&answer(&[Lane::Telemetry], 9, BatchOutcome::Taken), &mut holds, first);
        let (mut at, mut pause) = (first, Duration::ZERO);
        for _ in 0..12 {
            progress.heed(&answer(&[Lane::Result], 0, BatchOutcome::Unreadable), &mut holds, at);
            pause = holds.next_end(at).unwrap() - at;
            at += pause;
        }
        assert!(pause >= Duration::from_secs(1800), "{pause:?}");
    }

    #[test]
    fn what_does_not_join_on_behind_unreadable_records_costs_no_session() {
        let (mut progress, mut holds, now) = begun();
        for last in 1..=16 {
            send(&mut progress, Lane::Telemetry, last, now);
        }
        progress.heed(&answer(&[Lane::Telemetry], 0, BatchOutcome::Unreadable), &mut holds, now);
        for _ in 2..=16 {
            let heard = progress.heed(&answer(&[Lane::Telemetry], 0, BatchOutcome::Rewind), &mut holds, now);
            assert_eq!(heard, Heard::Nothing);
        }
        // The hold outlives the session.
        assert_eq!(session().open_lanes(&holds, now), [Lane::Alert, Lane::Result]);
    }

    #[test]
    fn a_control_plane_that_keeps_asking_for_what_is_gone_is_said_hello_to() {
        let (mut progress, mut holds, now) = begun();
        let rewind = answer(&[Lane::Telemetry], 0, BatchOutcome::Rewind);
        let heard: Vec<_> = (0..3).map(|_| progress.heed(&rewind, &mut holds, now)).collect();
        assert_eq!(heard, [Heard::Nothing, Heard::Nothing, Heard::Astray]);
    }

    #[test]
    fn a_hole_under_a_full_line_is_one_rewind() {
        let (mut progress, mut holds, now) = begun();
        let rewind = answer(&[Lane::Telemetry], 4, BatchOutcome::Rewind);
        for _ in 0..2 {
            for last in 1..=16 {
                send(&mut progress, Lane::Telemetry, last, now);
            }
            for _ in 1..=16 {
                assert_eq!(progress.heed(&rewind, &mut holds, now), Heard::Nothing);
            }
        }
        // Another lane's rewinds are another lane's.
        let other = answer(&[Lane::Alert], 4, BatchOutcome::Rewind);
        assert_eq!(progress.heed(&other, &mut holds, now), Heard::Nothing);
        assert_eq!(progress.heed(&rewind, &mut holds, now), Heard::Astray);
    }

    #[test]
    fn a_slow_control_plane_is_asked_less_and_less() {
        let (mut progress, mut holds, now) = begun();
        let mut patience = Vec::new();
        for _ in 0..7 {
            assert!(progress.has_room());
            send(&mut progress, Lane::Telemetry, 9, now);
            assert_eq!(progress.has_room(), patience.is_empty(), "one batch at a time after a stall");
            patience.push(progress.patience().as_secs());
            progress.stalled();
        }
        assert_eq!(patience, [20, 40, 80, 160, 320, 600, 600]);
        send(&mut progress, Lane::Telemetry, 9, now);
        let later = now + Duration::from_secs(30);
        progress.heed(&answer(&[Lane::Telemetry], 9, BatchOutcome::Taken), &mut holds, later);
        assert_eq!(progress.patience().as_secs(), 120, "four times the last round trip");
    }
}
