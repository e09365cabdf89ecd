//! The answer to records: how far a node may forget.

use super::lanes::marks_of;
use crate::state::Fleet;
use noderr_protocol::{
    BatchOutcome, Down, HighWaterMarks, Lane, LaneMark, List, NodeId, WIRE_VERSION, Welcome,
};

/// Tells a node how far it may forget. A node that misses the message asks again at its next hello, or sends again when no
/// mark comes.
pub(super) async fn send(fleet: &Fleet, node: &NodeId, marks: Vec<LaneMark>, outcome: BatchOutcome) {
    if let Ok(marks) = marks.try_into() {
        fleet.say(node, &Down::HighWaterMarks(HighWaterMarks { marks, outcome })).await;
    }
}

/// Answers a hello.
pub(super) async fn welcome(fleet: &Fleet, node: &NodeId, marks: Vec<LaneMark>) {
    if let Ok(marks) = marks.try_into() {
        let welcome = Welcome { speaks: WIRE_VERSION, facts: List::default(), marks };
        fleet.say(node, &Down::Welcome(welcome)).await;
    }
}

/// Answers records that this version cannot read: sending them again changes nothing. Where not even their lane can be
/// read, no lane of the node makes sense.
pub(super) async fn unreadable(fleet: &Fleet, node: &NodeId, lane: Option<Lane>) -> sqlx::Result<()> {
    let mut connection = fleet.kernel.database.system().acquire().await?;
    let mut marks = marks_of(&mut connection, node).await?;
    marks.retain(|mark| lane.is_none_or(|lane| mark.lane == lane.tag()));
    drop(connection);
    if !marks.is_empty() {
        send(fleet, node, marks, BatchOutcome::Unreadable).await;
    }
    Ok(())
}
