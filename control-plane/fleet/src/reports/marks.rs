//! The answers to records: up to where a node may delete them.

use super::lanes::marks_of;
use crate::state::Fleet;
use noderr_protocol::{
    BatchOutcome, Down, HighWaterMarks, Lane, LaneMark, List, NodeId, WIRE_VERSION, Welcome,
};

/// Tells a node up to where it may delete its records. A node that misses the message gets the marks at its
/// next hello, or sends its records again when no mark comes.
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

/// Answers records that this build cannot read, which sending again would not change. Where not even their
/// lane can be read, the answer is about all lanes of the node.
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
