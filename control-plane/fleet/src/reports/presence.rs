//! The presence of nodes: hello, heartbeats, actual state, end of a session.

use super::lanes::marks_at_hello;
use super::marks;
use super::quota::Quota;
use super::sequence::EPOCH_BOUND;
use crate::state::Fleet;
use crate::values::{signed, text, timestamp};
use noderr_protocol::release::Hardware;
use noderr_protocol::{ActualState, Heartbeat, Hello, NodeId, SectionBody as _};
use serde_json::json;
use sqlx::PgConnection;

/// Versions of a desired state that a node could have been told.
const VERSION_BOUND: u64 = 1 << 40;

/// Notes that a node has connected, and answers with marks; `false` if the node is not admitted.
pub(super) async fn hello(fleet: &Fleet, node: &NodeId, hello: &Hello) -> sqlx::Result<bool> {
    let id = node.as_bytes().as_slice();
    let mut tx = fleet.kernel.database.begin().await?;
    let known = sqlx::query!(
        "INSERT INTO heartbeats (node_id, online, instance, last_seen_at, software, architecture, epoch, node_time, speaks,
           knows, hardware, asked_epoch)
         -- At its enrolment the box has just shown what it has started.
         SELECT id, true, $2, now(), $3, $4, $5, $6, $7, $8, $9, $5 FROM admitted WHERE id = $1
         ON CONFLICT (node_id) DO UPDATE SET online = true, instance = $2, last_seen_at = now(), software = $3,
           architecture = $4, epoch = greatest(heartbeats.epoch, $5), node_time = $6, speaks = $7, knows = $8, hardware = $9",
        id,
        fleet.kernel.instance,
        text(&hello.software),
        text(&hello.architecture),
        signed(if hello.epoch < EPOCH_BOUND { hello.epoch } else { 0 }),
        timestamp(hello.time),
        i16::from(hello.speaks),
        serde_json::to_value(&hello.knows).unwrap_or_default(),
        &hardware(hello)
    )
    .execute(&mut *tx)
    .await?;
    if known.rows_affected() == 0 {
        // An external broker may still let a node that is not admitted in; its messages are ignored.
        metrics::counter!("noderr_ingest_refused_total", "reason" => "not-admitted").increment(1);
        return Ok(false);
    }
    outrun(&mut tx, node, hello.desired_version).await?;
    let marks = marks_at_hello(&mut tx, node, &hello.lanes, Quota::of(&fleet.settings.telemetry)).await?;
    tx.commit().await?;
    marks::welcome(fleet, node, marks).await;
    Ok(true)
}

/// The words for hardware that a node takes releases for.
fn hardware(hello: &Hello) -> Vec<String> {
    let fact = hello.facts.iter().find(|fact| fact.kind == Hardware::KIND);
    let said = fact.and_then(|fact| Hardware::of(&fact.body).ok()).unwrap_or_default();
    let words = said.words.iter().map(|word| text(word));
    std::iter::once(text(&hello.architecture)).chain(words).collect()
}

/// A node that has a newer document than this database got that document from a state of the database that is lost: the
/// current document must become newer still, or the node would never take it. Implausible versions are ignored, so that a
/// hostile node cannot push ours up to where there is no next one.
async fn outrun(connection: &mut PgConnection, node: &NodeId, version: u64) -> sqlx::Result<()> {
    if version < VERSION_BOUND {
        sqlx::query!(
            "UPDATE nodes SET desired_version = next_desired_version($2) WHERE id = $1 AND $2 > desired_version",
            node.as_bytes().as_slice(),
            signed(version)
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Notes the newest heartbeat of each of these nodes. Locks the rows, always in the same order.
pub(super) async fn heartbeats(fleet: &Fleet, beats: &[(NodeId, Heartbeat)]) -> sqlx::Result<()> {
    let nodes: Vec<_> = beats.iter().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let times: Vec<_> = beats.iter().map(|(_, beat)| timestamp(beat.time)).collect();
    let uptimes: Vec<_> = beats.iter().map(|(_, beat)| i64::from(beat.process_uptime_s)).collect();
    // PostgreSQL has no arrays of lists of different lengths, so the lists go in as JSON.
    let failing: Vec<_> = beats
        .iter()
        .map(|(_, beat)| beat.failing.iter().map(|check| text(check)).collect::<serde_json::Value>())
        .collect();
    let backlogs: Vec<_> = beats.iter().map(|(_, beat)| signed(beat.backlog)).collect();
    let lost: Vec<_> = beats.iter().map(|(_, beat)| signed(beat.lost)).collect();
    sqlx::query!(
        "WITH held AS (SELECT node_id FROM heartbeats WHERE node_id = ANY($2) ORDER BY node_id FOR UPDATE)
         UPDATE heartbeats h SET online = true, instance = $1, last_seen_at = now(), node_time = b.node_time,
           uptime_s = b.uptime_s, failing = ARRAY(SELECT jsonb_array_elements_text(b.failing)), backlog = b.backlog,
           lost = b.lost
         FROM held JOIN unnest($2::bytea[], $3::timestamptz[], $4::bigint[], $5::jsonb[], $6::bigint[], $7::bigint[])
           AS b (node_id, node_time, uptime_s, failing, backlog, lost) USING (node_id)
         WHERE h.node_id = b.node_id AND EXISTS (SELECT FROM admitted w WHERE w.id = h.node_id)",
        fleet.kernel.instance,
        &nodes,
        &times,
        &uptimes,
        &failing,
        &backlogs,
        &lost
    )
    .execute(fleet.kernel.database.system())
    .await?;
    Ok(())
}

/// Notes what a node has made of its desired state.
pub(super) async fn actual_state(fleet: &Fleet, node: &NodeId, actual: &ActualState) -> sqlx::Result<()> {
    let sections: serde_json::Value = actual
        .sections
        .iter()
        .map(|report| {
            let error = report.error.as_deref().map(text);
            json!({ "kind": report.kind, "phase": report.phase.name(), "error": error })
        })
        .collect();
    let mut tx = fleet.kernel.database.begin().await?;
    outrun(&mut tx, node, actual.desired_version).await?;
    sqlx::query!(
        "UPDATE nodes SET actual_version = $2, actual_sections = $3
         WHERE id = $1 AND EXISTS (SELECT FROM admitted w WHERE w.id = nodes.id)",
        node.as_bytes().as_slice(),
        signed(actual.desired_version),
        sections
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Notes that a session with this instance has ended, unless the node has connected to another instance
/// meanwhile.
pub(super) async fn gone(fleet: &Fleet, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE heartbeats SET online = false WHERE node_id = $1 AND instance = $2",
        node.as_bytes().as_slice(),
        fleet.kernel.instance
    )
    .execute(fleet.kernel.database.system())
    .await?;
    Ok(())
}
