//! Holds: lanes whose records the control plane cannot read wait until the control plane is newer. Each lane
//! waits for itself, longer every time, and across sessions; a lane that can be read is not kept waiting by a
//! held lane.

use noderr_part::Backoff;
use noderr_protocol::Lane;
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// The holds of all lanes.
pub(crate) struct Holds([Hold; Lane::ALL.len()]);

struct Hold {
    pauses: Backoff,
    until: Option<Instant>,
}

impl Holds {
    /// Begins with no lane held.
    pub(crate) fn new() -> Self {
        Self(Lane::ALL.map(|_| Hold { pauses: Backoff::new(FIRST, LONGEST), until: None }))
    }

    /// Holds a lane, unless the lane is held already.
    pub(crate) fn hold(&mut self, lane: Lane, now: Instant) {
        if !self.is_held(lane, now) {
            let hold = &mut self.0[lane as usize];
            let pause = hold.pauses.pause();
            tracing::warn!(%lane, ?pause, "the control plane cannot read these records; they wait until it can");
            hold.until = Some(now + pause);
        }
    }

    pub(crate) fn is_held(&self, lane: Lane, now: Instant) -> bool {
        self.0[lane as usize].until.is_some_and(|until| now < until)
    }

    /// Makes the next pause of a lane a short one again, because everything that was sent of the lane has
    /// been read.
    pub(crate) fn was_read(&mut self, lane: Lane) {
        self.0[lane as usize].pauses.reset();
    }

    /// When the next lane may be tried again.
    pub(crate) fn next_end(&self, now: Instant) -> Option<Instant> {
        self.0.iter().filter_map(|hold| hold.until).filter(|until| *until > now).min()
    }
}
