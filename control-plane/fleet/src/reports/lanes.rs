//! Lanes: how far each lane is committed, and what it has used of the day.

use super::quota::{Quota, Used};
use super::remains::Remains;
use crate::values::{node_id, signed};
use noderr_protocol::{Entry, Gap, GapReason, Lane, LaneMark, LaneState, NodeId, Position};
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

/// How far a lane is committed, and what the lane has used of the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) through: Position,
    pub(super) used: Used,
}

/// How far lanes are committed.
pub(super) type Marks = BTreeMap<(NodeId, Lane), Mark>;

/// Locks lanes, always in the same order, and returns how far each is committed. Lanes of nodes that are not admitted are left out.
pub(super) async fn lock_lanes(
    connection: &mut PgConnection,
    wanted: &[(NodeId, Lane)],
) -> sqlx::Result<Marks> {
    let nodes: Vec<Vec<u8>> = wanted.iter().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let lanes: Vec<String> = wanted.iter().map(|(_, lane)| lane.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT l.node_id, l.lane AS "lane: LaneName", l.epoch, l.seq, l.rows_today, l.bytes_today, l.refused_today,
             l.refused_first, l.refused_last, l.day = (now() AT TIME ZONE 'UTC')::date AS "is_today!"
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
            let through = Position { epoch: row.epoch.unsigned_abs(), seq: row.seq.unsigned_abs() };
            let used = Used {
                rows: row.rows_today.unsigned_abs(),
                bytes: row.bytes_today.unsigned_abs(),
                refused: row.refused_today.unsigned_abs(),
                growing: (row.refused_first.unsigned_abs(), row.refused_last.unsigned_abs()),
            };
            let used = if row.is_today { used } else { Used::default() };
            ((node_id(&row.node_id), row.lane.into()), Mark { through, used })
        })
        .collect())
}

/// Notes how far lanes are committed, and what they have used of the day.
pub(super) async fn set_marks(connection: &mut PgConnection, marks: &Marks) -> sqlx::Result<()> {
    let nodes: Vec<Vec<u8>> = marks.keys().map(|(node, _)| node.as_bytes().to_vec()).collect();
    let lanes: Vec<String> = marks.keys().map(|(_, lane)| lane.as_str().to_owned()).collect();
    let column = |of: fn(&Mark) -> u64| marks.values().map(|mark| signed(of(mark))).collect::<Vec<i64>>();
    sqlx::query!(
        "UPDATE lanes l SET epoch = m.epoch, seq = m.seq, day = (now() AT TIME ZONE 'UTC')::date, rows_today = m.rows,
           bytes_today = m.bytes, refused_today = m.refused, refused_first = m.first, refused_last = m.last
         FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
           $9::bigint[]) AS m (node_id, lane, epoch, seq, rows, bytes, refused, first, last)
         WHERE l.node_id = m.node_id AND l.lane = m.lane::lane",
        &nodes,
        &lanes,
        &column(|mark| mark.through.epoch),
        &column(|mark| mark.through.seq),
        &column(|mark| mark.used.rows),
        &column(|mark| mark.used.bytes),
        &column(|mark| mark.used.refused),
        &column(|mark| mark.used.growing.0),
        &column(|mark| mark.used.growing.1)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The marks of a node that says hello. Numbers that this database has lost become a gap, and the mark moves behind them: a node
/// whose oldest record lies beyond the next expected number has deleted the records between, because a newer state of this
/// database committed them.
pub(super) async fn marks_at_hello(
    connection: &mut PgConnection,
    node: &NodeId,
    held: &[LaneState],
    quota: Quota,
) -> sqlx::Result<Vec<LaneMark>> {
    sqlx::query!(
        "INSERT INTO lanes (node_id, lane) SELECT $1, unnest(enum_range(NULL::lane)) ON CONFLICT DO NOTHING",
        node.as_bytes().as_slice()
    )
    .execute(&mut *connection)
    .await?;
    let mut marks = lock_lanes(connection, &Lane::ALL.map(|lane| (*node, lane))).await?;
    let mut lost = Remains::default();
    for ((_, lane), mark) in &mut marks {
        let held = held.iter().find(|held| held.lane == lane.tag());
        let Some(gap) = held.and_then(|held| lost_before(held.oldest, mark.through)) else { continue };
        mark.through.seq = gap.last;
        if let Some(Entry::Gap(gap)) = mark.used.take(Entry::Gap(gap), quota) {
            lost.push_gap(node, *lane, &gap);
        }
    }
    lost.flush(connection).await?;
    set_marks(connection, &marks).await?;
    Ok(marks.iter().map(|((_, lane), mark)| LaneMark { lane: lane.tag(), through: mark.through }).collect())
}

/// The numbers between a mark and the oldest that a node still holds.
fn lost_before(oldest: u64, through: Position) -> Option<Gap> {
    let first = through.seq.saturating_add(1);
    // No honest box counts that far, and a lying box would move the mark beyond all its own records.
    let lost = (first + 1..i64::MAX as u64).contains(&oldest);
    lost.then(|| Gap { epoch: through.epoch, first, last: oldest - 1, reason: GapReason::LostByServer })
}

/// The marks of a node's lanes; empty if the node is not admitted.
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

/// A row of the table of lanes.
pub(super) struct LaneRow {
    pub(super) lane: String,
    pub(super) epoch: i64,
    pub(super) seq: i64,
    pub(super) missing: i64,
    pub(super) rows_today: i64,
    pub(super) bytes_today: i64,
    pub(super) refused_today: i64,
}

/// A node's lanes: how far each is committed, and how many of its numbers are accounted for as missing.
pub(super) async fn list(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<LaneRow>> {
    sqlx::query_as!(
        LaneRow,
        r#"SELECT l.lane::text AS "lane!", l.epoch, l.seq,
             (SELECT least(coalesce(sum(g.last_seq::numeric - g.first_seq + 1), 0), 9223372036854775807)::bigint FROM gaps g
              WHERE g.node_id = l.node_id AND g.lane = l.lane) AS "missing!",
             CASE WHEN t.is_today THEN l.rows_today ELSE 0 END AS "rows_today!",
             CASE WHEN t.is_today THEN l.bytes_today ELSE 0 END AS "bytes_today!",
             CASE WHEN t.is_today THEN l.refused_today ELSE 0 END AS "refused_today!"
           FROM lanes l, LATERAL (SELECT l.day = (now() AT TIME ZONE 'UTC')::date AS is_today) t WHERE l.node_id = $1 ORDER BY l.lane"#,
        node.as_bytes().as_slice()
    )
    .fetch_all(connection)
    .await
}
