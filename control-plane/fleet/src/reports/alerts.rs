//! Alerts: gathered a column at a time, stored in bulk, read newest first.

use crate::values::{signed, text, timestamp};
use async_trait::async_trait;
use noderr_kernel::Sink;
use noderr_protocol::{Lane, Message as _, NodeId, Payload, Position, Record};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The alerts of one transaction, in columns.
#[derive(Default)]
pub(super) struct Alerts {
    node: Vec<Vec<u8>>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    raised_at: Vec<OffsetDateTime>,
    code: Vec<String>,
    detail: Vec<String>,
}

#[async_trait]
impl Sink for Alerts {
    fn take(&mut self, node: &NodeId, _lane: Lane, record: &Record) -> bool {
        let Ok(Payload::Alert(alert)) = Payload::decode(&record.body) else { return false };
        let Position { epoch, seq } = record.position;
        self.node.push(node.as_bytes().to_vec());
        self.epoch.push(signed(epoch));
        self.seq.push(signed(seq));
        self.raised_at.push(timestamp(alert.time));
        self.code.push(alert.code.name().into_owned());
        self.detail.push(text(&alert.detail));
        true
    }

    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.seq.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO alerts (node_id, epoch, seq, raised_at, code, detail)
             SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[])
             ON CONFLICT DO NOTHING",
            &self.node,
            &self.epoch,
            &self.seq,
            &self.raised_at,
            &self.code,
            &self.detail
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A row of the table of alerts.
pub(super) struct AlertRow {
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) raised_at: OffsetDateTime,
    pub(super) received_at: OffsetDateTime,
    pub(super) code: String,
    pub(super) detail: String,
}

/// A node's alerts, newest first.
pub(super) async fn list(
    connection: &mut PgConnection,
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
    .fetch_all(connection)
    .await
}
