//! Statements about reports.

use super::columns::{Columns, signed};
use crate::database::Tx;
use noderr_protocol::{Lane, NodeId, Position};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// A lane, as the database names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "lane", rename_all = "lowercase")]
pub(super) enum LaneName {
    Alert,
    Result,
    Telemetry,
}

impl From<LaneName> for Lane {
    fn from(name: LaneName) -> Self {
        match name {
            LaneName::Alert => Self::Alert,
            LaneName::Result => Self::Result,
            LaneName::Telemetry => Self::Telemetry,
        }
    }
}

type Marks = BTreeMap<(NodeId, Lane), Position>;

/// Locks lanes in one order, whoever asks, and says how far each is committed. Lanes of unwelcome nodes are left out.
pub(super) async fn lock_lanes(tx: &mut Tx, wanted: &[(NodeId, Lane)]) -> sqlx::Result<Marks> {
    let nodes: Vec<Vec<u8>> = wanted.iter().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let lanes: Vec<String> = wanted.iter().map(|(_, lane)| lane.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT l.node_id, l.lane AS "lane: LaneName", l.epoch, l.seq
           FROM UNNEST($1::bytea[], $2::text[]) AS w (node_id, lane)
           JOIN lanes l ON l.node_id = w.node_id AND l.lane = w.lane::lane
           JOIN welcome n ON n.id = l.node_id
           ORDER BY l.node_id, l.lane FOR UPDATE OF l"#,
        &nodes,
        &lanes
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let position = Position { epoch: row.epoch.unsigned_abs(), seq: row.seq.unsigned_abs() };
            ((crate::features::nodes::node_id(&row.node_id), row.lane.into()), position)
        })
        .collect())
}

pub(super) async fn set_marks(tx: &mut Tx, marks: &Marks) -> sqlx::Result<()> {
    let nodes: Vec<Vec<u8>> = marks.keys().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let lanes: Vec<String> = marks.keys().map(|(_, lane)| lane.as_str().to_owned()).collect();
    let epochs: Vec<i64> = marks.values().map(|mark| signed(mark.epoch)).collect();
    let seqs: Vec<i64> = marks.values().map(|mark| signed(mark.seq)).collect();
    sqlx::query!(
        "UPDATE lanes l SET epoch = m.epoch, seq = m.seq
         FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[]) AS m (node_id, lane, epoch, seq)
         WHERE l.node_id = m.node_id AND l.lane = m.lane::lane",
        &nodes,
        &lanes,
        &epochs,
        &seqs
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, columns: &Columns) -> sqlx::Result<()> {
    if !columns.telemetry.seq.is_empty() {
        insert_telemetry(tx, columns).await?;
    }
    if !columns.alerts.seq.is_empty() {
        let alerts = &columns.alerts;
        sqlx::query!(
            "INSERT INTO alerts (node_id, epoch, seq, raised_at, code, detail)
             SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[])
             ON CONFLICT DO NOTHING",
            &alerts.node,
            &alerts.epoch,
            &alerts.seq,
            &alerts.raised_at,
            &alerts.code,
            &alerts.detail
        )
        .execute(&mut **tx)
        .await?;
    }
    if !columns.unreadable.seq.is_empty() {
        let unreadable = &columns.unreadable;
        sqlx::query!(
            "INSERT INTO unreadable_records (node_id, lane, epoch, seq, body)
             SELECT n, l::lane, e, s, b
             FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[]) AS r (n, l, e, s, b)
             ON CONFLICT DO NOTHING",
            &unreadable.node,
            &unreadable.lane,
            &unreadable.epoch,
            &unreadable.seq,
            &unreadable.body
        )
        .execute(&mut **tx)
        .await?;
    }
    if !columns.gaps.first.is_empty() {
        let gaps = &columns.gaps;
        sqlx::query!(
            "INSERT INTO gaps (node_id, lane, epoch, first_seq, last_seq, reason)
             SELECT n, l::lane, e, f, t, r
             FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
               AS g (n, l, e, f, t, r)",
            &gaps.node,
            &gaps.lane,
            &gaps.epoch,
            &gaps.first,
            &gaps.last,
            &gaps.reason
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn insert_telemetry(tx: &mut Tx, columns: &Columns) -> sqlx::Result<()> {
    let t = &columns.telemetry;
    sqlx::query!(
        "INSERT INTO telemetry (received_at, node_id, epoch, seq, sampled_at, uptime_s, cpu_permille, memory_used_kib,
           memory_total_kib, disk_used_kib, disk_total_kib, temperature_decicelsius, network_rx_bytes,
           network_tx_bytes, clock_offset_ms, tpm_commands, tpm_failures, link_connects, link_rtt_ms,
           spool_records, spool_lost)
         SELECT now(), * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::bigint[],
           $6::integer[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::integer[], $12::bigint[],
           $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
           $20::bigint[])",
        &t.node,
        &t.epoch,
        &t.seq,
        &t.sampled_at,
        &t.uptime_s,
        &t.cpu_permille,
        &t.memory_used_kib,
        &t.memory_total_kib,
        &t.disk_used_kib,
        &t.disk_total_kib,
        &t.temperature as &[Option<i32>],
        &t.network_rx_bytes,
        &t.network_tx_bytes,
        &t.clock_offset_ms as &[Option<i64>],
        &t.tpm_commands,
        &t.tpm_failures,
        &t.link_connects,
        &t.link_rtt_ms as &[Option<i64>],
        &t.spool_records,
        &t.spool_lost
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) struct TelemetryRow {
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) sampled_at: OffsetDateTime,
    pub(super) received_at: OffsetDateTime,
    pub(super) uptime_s: i64,
    pub(super) cpu_permille: i32,
    pub(super) memory_used_kib: i64,
    pub(super) memory_total_kib: i64,
    pub(super) disk_used_kib: i64,
    pub(super) disk_total_kib: i64,
    pub(super) temperature_decicelsius: Option<i32>,
    pub(super) network_rx_bytes: i64,
    pub(super) network_tx_bytes: i64,
    pub(super) clock_offset_ms: Option<i64>,
    pub(super) tpm_commands: i64,
    pub(super) tpm_failures: i64,
    pub(super) link_connects: i64,
    pub(super) link_rtt_ms: Option<i64>,
    pub(super) spool_records: i64,
    pub(super) spool_lost: i64,
}

pub(super) async fn telemetry(
    tx: &mut Tx,
    node: &NodeId,
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    after: Option<(OffsetDateTime, i64)>,
    limit: i64,
) -> sqlx::Result<Vec<TelemetryRow>> {
    let (after_at, after_seq) = after.unzip();
    sqlx::query_as!(
        TelemetryRow,
        "SELECT epoch, seq, sampled_at, received_at, uptime_s, cpu_permille, memory_used_kib, memory_total_kib,
           disk_used_kib, disk_total_kib, temperature_decicelsius, network_rx_bytes, network_tx_bytes, clock_offset_ms,
           tpm_commands, tpm_failures, link_connects, link_rtt_ms, spool_records, spool_lost
         FROM telemetry WHERE node_id = $1
           AND ($2::timestamptz IS NULL OR sampled_at >= $2) AND ($3::timestamptz IS NULL OR sampled_at < $3)
           AND ($4::timestamptz IS NULL OR (sampled_at, seq) < ($4, $5::bigint))
         ORDER BY sampled_at DESC, seq DESC LIMIT $6",
        node.as_bytes().as_slice(),
        since,
        until,
        after_at,
        after_seq,
        limit + 1
    )
    .fetch_all(&mut **tx)
    .await
}

pub(super) struct AlertRow {
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) raised_at: OffsetDateTime,
    pub(super) received_at: OffsetDateTime,
    pub(super) code: String,
    pub(super) detail: String,
}

pub(super) async fn alerts(
    tx: &mut Tx,
    node: &NodeId,
    after: Option<(i64, i64)>,
    limit: i64,
) -> sqlx::Result<Vec<AlertRow>> {
    let (after_epoch, after_seq) = after.unzip();
    sqlx::query_as!(
        AlertRow,
        "SELECT epoch, seq, raised_at, received_at, code, detail FROM alerts
         WHERE node_id = $1 AND ($2::bigint IS NULL OR (epoch, seq) < ($2, $3::bigint))
         ORDER BY epoch DESC, seq DESC LIMIT $4",
        node.as_bytes().as_slice(),
        after_epoch,
        after_seq,
        limit + 1
    )
    .fetch_all(&mut **tx)
    .await
}

pub(super) struct LaneRow {
    pub(super) lane: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) missing: i64,
}

/// How far each lane is committed and how many of its numbers are accounted for as missing.
pub(super) async fn lanes(tx: &mut Tx, node: &NodeId) -> sqlx::Result<Vec<LaneRow>> {
    sqlx::query_as!(
        LaneRow,
        r#"SELECT l.lane::text AS "lane!", l.epoch, l.seq,
             (SELECT least(coalesce(sum(g.last_seq::numeric - g.first_seq + 1), 0), 9223372036854775807)::bigint FROM gaps g
              WHERE g.node_id = l.node_id AND g.lane = l.lane) AS "missing!"
           FROM lanes l WHERE l.node_id = $1 ORDER BY l.lane"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(&mut **tx)
    .await
}
