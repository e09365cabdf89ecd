//! The progress of a session: which lanes to send next, and what an answer changes. No clock of its own, no
//! socket.

use crate::hold::Holds;
use crate::window::Window;
use noderr_protocol::{BatchOutcome, HighWaterMarks, Lane, LaneMark, Welcome};
use std::time::{Duration, Instant};

/// Rewinds in a row before the session begins anew.
const REWINDS: u32 = 2;

/// The progress of one session.
pub(crate) struct Progress {
    pub(crate) window: Window,
    /// The lanes that the control plane knows.
    lanes: Vec<Lane>,
    /// Rewinds demanded in a row.
    rewinds: u32,
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
        Self { window: Window::default(), lanes: lanes_of(&welcome.marks), rewinds: 0 }
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
                self.rewinds = 0;
                let took = self.window.marks(marks, now);
                for lane in about.into_iter().filter(|lane| !self.window.is_under_way(*lane)) {
                    holds.was_read(lane);
                }
                return took.map_or(Heard::Nothing, Heard::Arrived);
            }
            // Batches under way behind unreadable records do not join on; the hold has taken care of their
            // lane already.
            BatchOutcome::Rewind if about.iter().all(|lane| holds.is_held(*lane, now)) => {}
            BatchOutcome::Rewind => {
                self.rewinds += 1;
                self.window.rewind();
                if self.rewinds > REWINDS {
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
        progress.window.sent(lane, Position { epoch: 1, seq: last }, now);
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
}
