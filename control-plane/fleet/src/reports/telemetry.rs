//! Telemetry: samples gathered a column at a time, stored in bulk, read newest first. The columns follow from the table of
//! metrics.

use crate::values::{signed, timestamp};
use async_trait::async_trait;
use noderr_kernel::Sink;
use noderr_protocol::{Lane, Message as _, Metric, NodeId, Payload, Position, Record};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::sync::LazyLock;
use time::OffsetDateTime;

/// The samples of one transaction, in columns.
pub(super) struct Samples {
    node: Vec<Vec<u8>>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    sampled_at: Vec<OffsetDateTime>,
    /// One column for each metric, in the order of the table of metrics.
    metrics: Vec<Vec<Option<i64>>>,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            node: Vec::new(),
            epoch: Vec::new(),
            seq: Vec::new(),
            sampled_at: Vec::new(),
            metrics: vec![Vec::new(); Metric::ALL.len()],
        }
    }
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
        // Metrics that only a newer build knows are passed over.
        for (column, metric) in self.metrics.iter_mut().zip(Metric::ALL) {
            column.push(sample.get(*metric));
        }
        true
    }

    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.seq.is_empty() {
            return Ok(());
        }
        let mut insert = sqlx::query(AssertSqlSafe(INSERT.as_str()))
            .bind(&self.node)
            .bind(&self.epoch)
            .bind(&self.seq)
            .bind(&self.sampled_at);
        for column in &self.metrics {
            insert = insert.bind(column);
        }
        insert.execute(connection).await?;
        Ok(())
    }
}

/// The metrics' columns. Their names come from the table of metrics, so that no requester can choose them.
static COLUMNS: LazyLock<String> =
    LazyLock::new(|| Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", "));

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let arrays: Vec<_> = (5..5 + Metric::ALL.len()).map(|number| format!("${number}::bigint[]")).collect();
    format!(
        "INSERT INTO telemetry (received_at, node_id, epoch, seq, sampled_at, {})
         SELECT now(), * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::timestamptz[], {})",
        *COLUMNS,
        arrays.join(", ")
    )
});

static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT epoch, seq, sampled_at, received_at, {} FROM telemetry WHERE node_id = $1
           AND ($2::timestamptz IS NULL OR sampled_at >= $2) AND ($3::timestamptz IS NULL OR sampled_at < $3)
           AND ($4::timestamptz IS NULL OR (sampled_at, seq) < ($4, $5::bigint))
         ORDER BY sampled_at DESC, seq DESC LIMIT $6",
        *COLUMNS
    )
});

/// A row of the table of telemetry.
pub(super) struct SampleRow {
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) sampled_at: OffsetDateTime,
    pub(super) received_at: OffsetDateTime,
    pub(super) metrics: Vec<(Metric, Option<i64>)>,
}

/// The filter and the page of a list.
pub(super) struct Wanted {
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
    pub(super) after: Option<(OffsetDateTime, i64)>,
    pub(super) limit: i64,
}

/// A node's samples, newest first.
pub(super) async fn list(
    connection: &mut PgConnection,
    node: &NodeId,
    wanted: Wanted,
) -> sqlx::Result<Vec<SampleRow>> {
    let (after_at, after_seq) = wanted.after.unzip();
    let rows = sqlx::query(AssertSqlSafe(SELECT.as_str()))
        .bind(node.as_bytes().as_slice())
        .bind(wanted.since)
        .bind(wanted.until)
        .bind(after_at)
        .bind(after_seq)
        .bind(wanted.limit + 1)
        .fetch_all(connection)
        .await?;
    rows.iter().map(sample).collect()
}

fn sample(row: &PgRow) -> sqlx::Result<SampleRow> {
    let metrics = Metric::ALL.iter().map(|metric| Ok((*metric, row.try_get(metric.name())?)));
    Ok(SampleRow {
        epoch: row.try_get("epoch")?,
        seq: row.try_get("seq")?,
        sampled_at: row.try_get("sampled_at")?,
        received_at: row.try_get("received_at")?,
        metrics: metrics.collect::<sqlx::Result<_>>()?,
    })
}
