//! The answer to records: how far a node may forget.

use crate::state::Fleet;
use noderr_protocol::{Down, HighWaterMarks, LaneMark, NodeId};

/// Tells a node how far it may forget. A node that misses the message asks again at its next hello, or sends again when no
/// mark comes.
pub(super) async fn send(fleet: &Fleet, node: &NodeId, marks: Vec<LaneMark>, rewind: bool) {
    if let Ok(marks) = marks.try_into() {
        fleet.say(node, &Down::HighWaterMarks(HighWaterMarks { marks, rewind })).await;
    }
}
