//! Who is there: hello, heartbeats, actual state, goodbye.

use super::columns::{signed, text, timestamp};
use super::db::LaneName;
use super::sequence::EPOCH_BOUND;
use crate::app::App;
use crate::features::{attestation, nodes};
use noderr_protocol::{
    ActualState, Down, GapReason, Heartbeat, Hello, HighWaterMarks, Lane, LaneMark, NodeId, Position,
};
use sqlx::PgConnection;

/// Greets a node: learns who is there, and answers with marks, the desired state and any open question.
pub(super) async fn hello(app: &App, node: &NodeId, hello: &Hello) -> sqlx::Result<()> {
    let id = node.as_bytes().as_slice();
    let mut tx = app.database.begin().await?;
    let known = sqlx::query!(
        "INSERT INTO heartbeats (node_id, online, instance, last_seen_at, software, architecture, epoch, node_time)
         SELECT id, true, $2, now(), $3, $4, $5, $6 FROM welcome WHERE id = $1
         ON CONFLICT (node_id) DO UPDATE SET online = true, instance = $2, last_seen_at = now(), software = $3,
           architecture = $4, epoch = greatest(heartbeats.epoch, $5), node_time = $6",
        id,
        app.id,
        text(&hello.software),
        text(&hello.architecture),
        signed(if hello.epoch < EPOCH_BOUND { hello.epoch } else { 0 }),
        timestamp(hello.time)
    )
    .execute(&mut *tx)
    .await?;
    if known.rows_affected() == 0 {
        // An external broker may still let an unwelcome node in; it is not heard.
        metrics::counter!("noderr_ingest_refused_total").increment(1);
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO lanes (node_id, lane) SELECT $1, unnest(enum_range(NULL::lane)) ON CONFLICT DO NOTHING",
        id
    )
    .execute(&mut *tx)
    .await?;
    // A node with a newer document than this database has was told it by a database that is lost: what is wanted now
    // must be newer still, or the node would never take it. (No document counts as far as a liar may claim.)
    sqlx::query!(
        "UPDATE nodes SET actual_version = $2,
           desired_version = CASE WHEN $2 > desired_version AND $2 < (1::bigint << 40) THEN $2 + 1 ELSE desired_version END
         WHERE id = $1",
        id,
        signed(hello.desired_version)
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT lane AS "lane: LaneName", epoch, seq FROM lanes WHERE node_id = $1 ORDER BY lane FOR UPDATE"#,
        id
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut marks = Vec::new();
    for row in rows {
        let lane = Lane::from(row.lane);
        let mut through = Position { epoch: row.epoch.unsigned_abs(), seq: row.seq.unsigned_abs() };
        if let Some(held) = hello.lanes.iter().find(|held| held.lane == lane) {
            catch_up(&mut tx, id, row.lane, &mut through, held.oldest).await?;
        }
        marks.push(LaneMark { lane, through });
    }
    tx.commit().await?;
    send_marks(app, node, marks, false).await;
    nodes::send_desired(app, node).await?;
    attestation::send_open_challenge(app, node).await
}

/// A node whose oldest record lies beyond the next one expected was told that the rest is committed, and has deleted
/// it: this database is older than that. What is lost is put on record, and the mark goes on from there.
async fn catch_up(
    tx: &mut PgConnection,
    id: &[u8],
    lane: LaneName,
    through: &mut Position,
    oldest: u64,
) -> sqlx::Result<()> {
    // No box counts that far; one that claims to would take the mark beyond all its own records.
    let plausible = oldest < i64::MAX as u64;
    if !plausible || oldest <= through.seq.saturating_add(1) {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO gaps (node_id, lane, epoch, first_seq, last_seq, reason) VALUES ($1, $2, $3, $4, $5, $6)",
        id,
        lane as LaneName,
        signed(through.epoch),
        signed(through.seq + 1),
        signed(oldest - 1),
        GapReason::LostByServer.as_str()
    )
    .execute(&mut *tx)
    .await?;
    through.seq = oldest - 1;
    sqlx::query!(
        "UPDATE lanes SET seq = $3 WHERE node_id = $1 AND lane = $2",
        id,
        lane as LaneName,
        signed(through.seq)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Tells a node how far it may forget.
pub(super) async fn send_marks(app: &App, node: &NodeId, marks: Vec<LaneMark>, rewind: bool) {
    let (Ok(marks), Some(broker)) = (marks.try_into(), app.broker()) else { return };
    if let Err(error) = broker.send(node, &Down::HighWaterMarks(HighWaterMarks { marks, rewind })).await {
        // The node asks again at its next hello, or sends again when no mark comes.
        tracing::debug!(node = %node.short(), %error, "marks were not handed on");
    }
}

/// Notes the newest heartbeat of each of these nodes. Locks them in one order, whoever asks.
pub(super) async fn heartbeats(app: &App, beats: &[(NodeId, Heartbeat)]) -> sqlx::Result<()> {
    let nodes: Vec<_> = beats.iter().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let times: Vec<_> = beats.iter().map(|(_, beat)| timestamp(beat.time)).collect();
    let uptimes: Vec<_> = beats.iter().map(|(_, beat)| i64::from(beat.process_uptime_s)).collect();
    // Lists of different lengths do not go into one array.
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
         WHERE h.node_id = b.node_id AND EXISTS (SELECT FROM welcome w WHERE w.id = h.node_id)",
        app.id,
        &nodes,
        &times,
        &uptimes,
        &failing,
        &backlogs,
        &lost
    )
    .execute(app.database.system())
    .await?;
    Ok(())
}

pub(super) async fn actual_state(app: &App, node: &NodeId, actual: &ActualState) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET actual_version = $2, actual_error = $3
         WHERE id = $1 AND EXISTS (SELECT FROM welcome w WHERE w.id = nodes.id)",
        node.as_bytes().as_slice(),
        signed(actual.desired_version),
        actual.error.as_deref().map(text)
    )
    .execute(app.database.system())
    .await?;
    Ok(())
}

/// A session with this instance ended. If the node has come to another one in the meantime, that one's word stands.
pub(super) async fn gone(app: &App, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE heartbeats SET online = false WHERE node_id = $1 AND instance = $2",
        node.as_bytes().as_slice(),
        app.id
    )
    .execute(app.database.system())
    .await?;
    Ok(())
}
