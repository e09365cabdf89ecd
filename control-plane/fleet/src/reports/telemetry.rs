//! Telemetry: samples gathered a column at a time, stored in bulk, read newest first.

use crate::values::{signed, timestamp};
use async_trait::async_trait;
use noderr_kernel::Sink;
use noderr_protocol::{Lane, Message as _, NodeId, Payload, Position, Record};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Samples of one transaction.
#[derive(Default)]
pub(super) struct Samples {
    node: Vec<Vec<u8>>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    sampled_at: Vec<OffsetDateTime>,
    uptime_s: Vec<i64>,
    cpu_permille: Vec<i32>,
    memory_used_kib: Vec<i64>,
    memory_total_kib: Vec<i64>,
    disk_used_kib: Vec<i64>,
    disk_total_kib: Vec<i64>,
    temperature: Vec<Option<i32>>,
    network_rx_bytes: Vec<i64>,
    network_tx_bytes: Vec<i64>,
    clock_offset_ms: Vec<Option<i64>>,
    tpm_commands: Vec<i64>,
    tpm_failures: Vec<i64>,
    link_connects: Vec<i64>,
    link_rtt_ms: Vec<Option<i64>>,
    spool_records: Vec<i64>,
    spool_lost: Vec<i64>,
}

#[async_trait]
impl Sink for Samples {
    fn take(&mut self, node: &NodeId, _lane: Lane, record: &Record) -> bool {
        let Ok(Payload::Telemetry(sample)) = Payload::decode(&record.body) else { return false };
        let Position { epoch, seq } = record.position;
        self.node.push(node.as_bytes().to_vec());
        self.epoch.push(signed(epoch));
        self.seq.push(signed(seq));
        self.sampled_at.push(timestamp(sample.time));
        self.uptime_s.push(sample.uptime_s.into());
        self.cpu_permille.push(sample.cpu_permille.into());
        self.memory_used_kib.push(signed(sample.memory_used_kib));
        self.memory_total_kib.push(signed(sample.memory_total_kib));
        self.disk_used_kib.push(signed(sample.disk_used_kib));
        self.disk_total_kib.push(signed(sample.disk_total_kib));
        self.temperature.push(sample.temperature_decicelsius.map(i32::from));
        self.network_rx_bytes.push(signed(sample.network_rx_bytes));
        self.network_tx_bytes.push(signed(sample.network_tx_bytes));
        self.clock_offset_ms.push(sample.clock_offset_ms);
        self.tpm_commands.push(signed(sample.tpm_commands));
        self.tpm_failures.push(signed(sample.tpm_failures));
        self.link_connects.push(sample.link_connects.into());
        self.link_rtt_ms.push(sample.link_rtt_ms.map(i64::from));
        self.spool_records.push(signed(sample.spool_records));
        self.spool_lost.push(signed(sample.spool_lost));
        true
    }

    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.seq.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO telemetry (received_at, node_id, epoch, seq, sampled_at, uptime_s, cpu_permille, memory_used_kib,
               memory_total_kib, disk_used_kib, disk_total_kib, temperature_decicelsius, network_rx_bytes,
               network_tx_bytes, clock_offset_ms, tpm_commands, tpm_failures, link_connects, link_rtt_ms,
               spool_records, spool_lost)
             SELECT now(), * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::bigint[],
               $6::integer[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::integer[], $12::bigint[],
               $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
               $20::bigint[])",
            &self.node,
            &self.epoch,
            &self.seq,
            &self.sampled_at,
            &self.uptime_s,
            &self.cpu_permille,
            &self.memory_used_kib,
            &self.memory_total_kib,
            &self.disk_used_kib,
            &self.disk_total_kib,
            &self.temperature as &[Option<i32>],
            &self.network_rx_bytes,
            &self.network_tx_bytes,
            &self.clock_offset_ms as &[Option<i64>],
            &self.tpm_commands,
            &self.tpm_failures,
            &self.link_connects,
            &self.link_rtt_ms as &[Option<i64>],
            &self.spool_records,
            &self.spool_lost
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A sample, as the database has it.
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

/// A node's samples, newest first.
pub(super) async fn list(
    connection: &mut PgConnection,
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
    .fetch_all(connection)
    .await
}
