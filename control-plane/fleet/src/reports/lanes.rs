//! Lanes: how far each lane is committed, which of its numbers are missing, and which of its records could
//! not be read.

use crate::nodes::node_id;
use crate::values::signed;
use noderr_protocol::{Gap, GapReason, Lane, LaneMark, LaneState, NodeId, Position, Record};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// A lane, as the database's type names it.
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

/// How far lanes are committed.
pub(super) type Marks = BTreeMap<(NodeId, Lane), Position>;

/// Locks lanes, always in the same order, and returns how far each is committed. Lanes of nodes that are not admitted are left out.
pub(super) async fn lock_lanes(
    connection: &mut PgConnection,
    wanted: &[(NodeId, Lane)],
) -> sqlx::Result<Marks> {
    let nodes: Vec<Vec<u8>> = wanted.iter().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let lanes: Vec<String> = wanted.iter().map(|(_, lane)| lane.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT l.node_id, l.lane AS "lane: LaneName", l.epoch, l.seq
           FROM UNNEST($1::bytea[], $2::text[]) AS w (node_id, lane)
           JOIN lanes l ON l.node_id = w.node_id AND l.lane = w.lane::lane
           JOIN admitted n ON n.id = l.node_id
           ORDER BY l.node_id, l.lane FOR UPDATE OF l"#,
        &nodes,
        &lanes
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let position = Position { epoch: row.epoch.unsigned_abs(), seq: row.seq.unsigned_abs() };
            ((node_id(&row.node_id), row.lane.into()), position)
        })
        .collect())
}

/// Notes how far lanes are committed.
pub(super) async fn set_marks(connection: &mut PgConnection, marks: &Marks) -> sqlx::Result<()> {
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
    .execute(connection)
    .await?;
    Ok(())
}

/// Rows that belong to no kind of record: gaps, and records that are kept as they came.
#[derive(Default)]
pub(super) struct Remains {
    unreadable: Unreadable,
    gaps: Gaps,
}

#[derive(Default)]
struct Unreadable {
    node: Vec<Vec<u8>>,
    lane: Vec<String>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    body: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Gaps {
    node: Vec<Vec<u8>>,
    lane: Vec<String>,
    epoch: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
    reason: Vec<String>,
}

impl Remains {
    /// Adds a record as it came.
    pub(super) fn push_unreadable(&mut self, node: &NodeId, lane: Lane, record: Record) {
        metrics::counter!("noderr_unreadable_total", "what" => "record").increment(1);
        let columns = &mut self.unreadable;
        columns.node.push(node.as_bytes().to_vec());
        columns.lane.push(lane.as_str().to_owned());
        columns.epoch.push(signed(record.position.epoch));
        columns.seq.push(signed(record.position.seq));
        columns.body.push(record.body.into_vec());
    }

    /// Adds a gap; gaps that join on to each other become one.
    pub(super) fn push_gap(&mut self, node: &NodeId, lane: Lane, gap: &Gap) {
        let columns = &mut self.gaps;
        let joins = columns.last.last().is_some_and(|last| *last == signed(gap.first) - 1)
            && columns.node.last().is_some_and(|last| last == node.as_bytes())
            && columns.lane.last().is_some_and(|last| last == lane.as_str())
            && columns.epoch.last() == Some(&signed(gap.epoch))
            && columns.reason.last().is_some_and(|last| *last == gap.reason.name());
        if let Some(last) = columns.last.last_mut().filter(|_| joins) {
            *last = signed(gap.last);
            return;
        }
        columns.node.push(node.as_bytes().to_vec());
        columns.lane.push(lane.as_str().to_owned());
        columns.epoch.push(signed(gap.epoch));
        columns.first.push(signed(gap.first));
        columns.last.push(signed(gap.last));
        columns.reason.push(gap.reason.name().into_owned());
    }

    /// Stores the records and the gaps.
    pub(super) async fn flush(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.unreadable.flush(connection).await?;
        self.gaps.flush(connection).await
    }
}

impl Unreadable {
    async fn flush(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.seq.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO unreadable_records (node_id, lane, epoch, seq, body)
             SELECT n, l::lane, e, s, b
             FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[]) AS r (n, l, e, s, b)
             ON CONFLICT DO NOTHING",
            &self.node,
            &self.lane,
            &self.epoch,
            &self.seq,
            &self.body
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Gaps {
    async fn flush(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.first.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO gaps (node_id, lane, epoch, first_seq, last_seq, reason)
             SELECT n, l::lane, e, f, t, r
             FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
               AS g (n, l, e, f, t, r)",
            &self.node,
            &self.lane,
            &self.epoch,
            &self.first,
            &self.last,
            &self.reason
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The marks of a node that says hello. A lane is caught up first, if the node's spool holds only later
/// records.
pub(super) async fn marks_at_hello(
    connection: &mut PgConnection,
    node: &NodeId,
    held: &[LaneState],
) -> sqlx::Result<Vec<LaneMark>> {
    let id = node.as_bytes().as_slice();
    sqlx::query!(
        "INSERT INTO lanes (node_id, lane) SELECT $1, unnest(enum_range(NULL::lane)) ON CONFLICT DO NOTHING",
        id
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT lane AS "lane: LaneName", epoch, seq FROM lanes WHERE node_id = $1 ORDER BY lane FOR UPDATE"#,
        id
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut marks = Vec::new();
    for row in rows {
        let lane = Lane::from(row.lane);
        let mut through = Position { epoch: row.epoch.unsigned_abs(), seq: row.seq.unsigned_abs() };
        if let Some(held) = held.iter().find(|held| held.lane == lane.tag()) {
            catch_up(&mut *connection, id, row.lane, &mut through, held.oldest).await?;
        }
        marks.push(LaneMark { lane: lane.tag(), through });
    }
    Ok(marks)
}

/// The marks of a node's lanes; empty if the node is not welcome.
pub(super) async fn marks_of(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<LaneMark>> {
    let rows = sqlx::query!(
        r#"SELECT lane AS "lane: LaneName", epoch, seq FROM lanes
           WHERE node_id = $1 AND node_id IN (SELECT id FROM admitted) ORDER BY lane"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await?;
    let mark = |lane: LaneName, epoch: i64, seq: i64| {
        let through = Position { epoch: epoch.unsigned_abs(), seq: seq.unsigned_abs() };
        LaneMark { lane: Lane::from(lane).tag(), through }
    };
    Ok(rows.into_iter().map(|row| mark(row.lane, row.epoch, row.seq)).collect())
}

/// Puts the records on record that this database has lost, and moves the mark behind them. A node whose
/// oldest record lies beyond the next expected number has deleted the records between, because a newer state
/// of this database committed them.
async fn catch_up(
    connection: &mut PgConnection,
    id: &[u8],
    lane: LaneName,
    through: &mut Position,
    oldest: u64,
) -> sqlx::Result<()> {
    // No honest box counts that far, and a lying box would move the mark beyond all its own records.
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
        &*GapReason::LostByServer.name()
    )
    .execute(&mut *connection)
    .await?;
    through.seq = oldest - 1;
    sqlx::query!(
        "UPDATE lanes SET seq = $3 WHERE node_id = $1 AND lane = $2",
        id,
        lane as LaneName,
        signed(through.seq)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A row of the table of lanes.
pub(super) struct LaneRow {
    pub(super) lane: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) missing: i64,
}

/// A node's lanes: how far each is committed, and how many of its numbers are accounted for as missing.
pub(super) async fn list(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<LaneRow>> {
    sqlx::query_as!(
        LaneRow,
        r#"SELECT l.lane::text AS "lane!", l.epoch, l.seq,
             (SELECT least(coalesce(sum(g.last_seq::numeric - g.first_seq + 1), 0), 9223372036854775807)::bigint FROM gaps g
              WHERE g.node_id = l.node_id AND g.lane = l.lane) AS "missing!"
           FROM lanes l WHERE l.node_id = $1 ORDER BY l.lane"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await
}
