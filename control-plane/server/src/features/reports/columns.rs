//! Records turned on their side: one vector a column, as UNNEST wants them.

use noderr_protocol::{Gap, Lane, Message as _, NodeId, Payload, Position, Record, UnixMillis};
use time::OffsetDateTime;

#[derive(Default)]
pub(super) struct Columns {
    pub(super) telemetry: Telemetry,
    pub(super) alerts: Alerts,
    pub(super) unreadable: Unreadable,
    pub(super) gaps: Gaps,
}

#[derive(Default)]
pub(super) struct Telemetry {
    pub(super) node: Vec<Vec<u8>>,
    pub(super) epoch: Vec<i64>,
    pub(super) seq: Vec<i64>,
    pub(super) sampled_at: Vec<OffsetDateTime>,
    pub(super) uptime_s: Vec<i64>,
    pub(super) cpu_permille: Vec<i32>,
    pub(super) memory_used_kib: Vec<i64>,
    pub(super) memory_total_kib: Vec<i64>,
    pub(super) disk_used_kib: Vec<i64>,
    pub(super) disk_total_kib: Vec<i64>,
    pub(super) temperature: Vec<Option<i32>>,
    pub(super) network_rx_bytes: Vec<i64>,
    pub(super) network_tx_bytes: Vec<i64>,
    pub(super) clock_offset_ms: Vec<Option<i64>>,
    pub(super) tpm_commands: Vec<i64>,
    pub(super) tpm_failures: Vec<i64>,
    pub(super) link_connects: Vec<i64>,
    pub(super) link_rtt_ms: Vec<Option<i64>>,
    pub(super) spool_records: Vec<i64>,
    pub(super) spool_lost: Vec<i64>,
}

#[derive(Default)]
pub(super) struct Alerts {
    pub(super) node: Vec<Vec<u8>>,
    pub(super) epoch: Vec<i64>,
    pub(super) seq: Vec<i64>,
    pub(super) raised_at: Vec<OffsetDateTime>,
    pub(super) code: Vec<String>,
    pub(super) detail: Vec<String>,
}

#[derive(Default)]
pub(super) struct Unreadable {
    pub(super) node: Vec<Vec<u8>>,
    pub(super) lane: Vec<String>,
    pub(super) epoch: Vec<i64>,
    pub(super) seq: Vec<i64>,
    pub(super) body: Vec<Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Gaps {
    pub(super) node: Vec<Vec<u8>>,
    pub(super) lane: Vec<String>,
    pub(super) epoch: Vec<i64>,
    pub(super) first: Vec<i64>,
    pub(super) last: Vec<i64>,
    pub(super) reason: Vec<String>,
}

impl Columns {
    /// A record goes where its payload says; one that cannot be read is kept as it is.
    pub(super) fn push_record(&mut self, node: &NodeId, lane: Lane, record: Record) {
        let Position { epoch, seq } = record.position;
        match Payload::decode(&record.body) {
            Ok(Payload::Telemetry(sample)) => {
                let columns = &mut self.telemetry;
                columns.node.push(node.as_bytes().to_vec());
                columns.epoch.push(signed(epoch));
                columns.seq.push(signed(seq));
                columns.sampled_at.push(timestamp(sample.time));
                columns.uptime_s.push(sample.uptime_s.into());
                columns.cpu_permille.push(sample.cpu_permille.into());
                columns.memory_used_kib.push(signed(sample.memory_used_kib));
                columns.memory_total_kib.push(signed(sample.memory_total_kib));
                columns.disk_used_kib.push(signed(sample.disk_used_kib));
                columns.disk_total_kib.push(signed(sample.disk_total_kib));
                columns.temperature.push(sample.temperature_decicelsius.map(i32::from));
                columns.network_rx_bytes.push(signed(sample.network_rx_bytes));
                columns.network_tx_bytes.push(signed(sample.network_tx_bytes));
                columns.clock_offset_ms.push(sample.clock_offset_ms);
                columns.tpm_commands.push(signed(sample.tpm_commands));
                columns.tpm_failures.push(signed(sample.tpm_failures));
                columns.link_connects.push(sample.link_connects.into());
                columns.link_rtt_ms.push(sample.link_rtt_ms.map(i64::from));
                columns.spool_records.push(signed(sample.spool_records));
                columns.spool_lost.push(signed(sample.spool_lost));
            }
            Ok(Payload::Alert(alert)) => {
                let columns = &mut self.alerts;
                columns.node.push(node.as_bytes().to_vec());
                columns.epoch.push(signed(epoch));
                columns.seq.push(signed(seq));
                columns.raised_at.push(timestamp(alert.time));
                columns.code.push(alert.code.as_str().to_owned());
                columns.detail.push(text(&alert.detail));
            }
            Err(error) => {
                tracing::debug!(node = %node.short(), %error, "a record is not readable");
                self.push_unreadable(node, lane, record);
            }
        }
    }

    /// A record as it came.
    pub(super) fn push_unreadable(&mut self, node: &NodeId, lane: Lane, record: Record) {
        metrics::counter!("noderr_unreadable_total", "what" => "record").increment(1);
        let columns = &mut self.unreadable;
        columns.node.push(node.as_bytes().to_vec());
        columns.lane.push(lane.as_str().to_owned());
        columns.epoch.push(signed(record.position.epoch));
        columns.seq.push(signed(record.position.seq));
        columns.body.push(record.body.into_vec());
    }

    /// Gaps that join on to each other are one.
    pub(super) fn push_gap(&mut self, node: &NodeId, lane: Lane, gap: &Gap) {
        let columns = &mut self.gaps;
        let joins = columns.last.last().is_some_and(|last| *last == signed(gap.first) - 1)
            && columns.node.last().is_some_and(|last| last == node.as_bytes())
            && columns.lane.last().is_some_and(|last| last == lane.as_str())
            && columns.epoch.last() == Some(&signed(gap.epoch))
            && columns.reason.last().is_some_and(|last| last == gap.reason.as_str());
        if let Some(last) = columns.last.last_mut().filter(|_| joins) {
            *last = signed(gap.last);
            return;
        }
        columns.node.push(node.as_bytes().to_vec());
        columns.lane.push(lane.as_str().to_owned());
        columns.epoch.push(signed(gap.epoch));
        columns.first.push(signed(gap.first));
        columns.last.push(signed(gap.last));
        columns.reason.push(gap.reason.as_str().to_owned());
    }
}

/// PostgreSQL has no unsigned integers; a node that counts beyond 2^63 is lying.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A node's time, held to what PostgreSQL and people can read.
pub(super) fn timestamp(time: UnixMillis) -> OffsetDateTime {
    // From 1970 to the year 9999: PostgreSQL and RFC 3339 both end before the node's integer does.
    let within = time.clamp(0, 253_402_300_799_000);
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(within) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A node's text, without what PostgreSQL's cannot hold, and without orders to the terminal of whoever reads it.
pub(super) fn text(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_no_database_can_hold_is_brought_within_what_it_can() {
        for time in [i64::MIN, -300_000_000_000_000, -1] {
            assert_eq!(timestamp(time), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!(timestamp(i64::MAX).year(), 9999);
        assert_eq!(timestamp(1_700_000_000_000).unix_timestamp(), 1_700_000_000);
    }

    #[test]
    fn text_loses_only_its_control_characters() {
        assert_eq!(text("a\0b\u{1b}[2J ü"), "a\u{fffd}b\u{fffd}[2J ü");
    }
}
