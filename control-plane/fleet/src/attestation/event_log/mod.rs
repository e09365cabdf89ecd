//! The firmware's event log behind an attestation that found changed registers: asked for, put together, and held against the
//! registers, so that people read which component has changed.

mod db;
mod explain;
mod routes;

pub(super) use routes::routes;

use crate::state::Fleet;
use noderr_attestation::EventLog;
use noderr_protocol::{Down, EventLogPart, EventLogRequest, MAX_EVENT_LOG_PARTS, NodeId};
use sqlx::PgConnection;

/// Logs of a node that are kept beside the newest that leads to its baseline.
const KEPT: usize = 4;

/// Asks a node for the log of the start that it is in. A node that misses the question, or is cut off in the middle of its
/// answer, is asked again after its next attestation.
pub(super) async fn ask(fleet: &Fleet, node: &NodeId, challenge: [u8; 16]) {
    fleet.say(node, &Down::EventLogRequest(EventLogRequest { challenge })).await;
}

/// Takes in one part. Nobody but the node says what its log is: the log is believed as far as it leads to quoted registers.
pub(super) async fn take(fleet: &Fleet, node: &NodeId, part: &EventLogPart) -> sqlx::Result<()> {
    let makes_sense = (1..=MAX_EVENT_LOG_PARTS).contains(&part.parts) && part.part < part.parts;
    if !makes_sense || !fleet.kernel.database.has_room() {
        return Ok(());
    }
    let mut tx = fleet.kernel.database.begin().await?;
    let whole = match part.part {
        0 => {
            db::forget_unfinished(&mut tx, node, &part.challenge).await?;
            db::begin(&mut tx, node, part).await?
        }
        _ => db::go_on(&mut tx, node, part).await?,
    };
    if whole {
        forget_older(&mut tx, node).await?;
    }
    tx.commit().await
}

/// Forgets the oldest logs of a node, but not the newest that leads to its baseline: it is what a change is held against.
async fn forget_older(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<()> {
    let baseline = db::baseline(connection, node).await?;
    let logs = db::of_node(connection, node).await?;
    let basis = logs.iter().position(|log| explain::leads_to(&log.bytes, baseline.as_ref()));
    let others = logs.iter().enumerate().filter(|(number, _)| Some(*number) != basis);
    let kept: Vec<_> = others.take(KEPT).map(|(number, _)| number).chain(basis).collect();
    let old = logs.iter().enumerate().filter(|(number, _)| !kept.contains(number));
    let old: Vec<_> = old.filter_map(|(_, log)| log.challenge.clone()).collect();
    db::forget(connection, node, &old).await
}

/// Why a log says nothing, for people.
fn unreadable(bytes: &[u8]) -> Option<String> {
    EventLog::parse(bytes).err().map(|refusal| refusal.to_string())
}
