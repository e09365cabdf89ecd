//! What belongs to no kind of record: numbers that are missing, and records that could not be read.

use crate::values::signed;
use noderr_protocol::{Gap, GapReason, Lane, NodeId, Record};
use sqlx::PgConnection;
use std::collections::BTreeMap;

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
    /// The rows of gaps that may still grow, by their first number.
    growing: BTreeMap<(NodeId, Lane, u64), usize>,
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

    /// Adds a gap. Gaps that join on to each other become one; a gap that grew takes the place of what it was.
    pub(super) fn push_gap(&mut self, node: &NodeId, lane: Lane, gap: &Gap) {
        let columns = &mut self.gaps;
        if gap.reason == GapReason::OverQuota {
            let named = (*node, lane, gap.first);
            if let Some(row) = columns.growing.get(&named) {
                (columns.last[*row], columns.epoch[*row]) = (signed(gap.last), signed(gap.epoch));
                return;
            }
            columns.growing.insert(named, columns.first.len());
        }
        let same = columns.node.last().is_some_and(|last| last == node.as_bytes())
            && columns.lane.last().is_some_and(|last| last == lane.as_str())
            && columns.reason.last().is_some_and(|last| *last == gap.reason.name());
        let joins = same
            && columns.last.last() == Some(&(signed(gap.first) - 1))
            && columns.epoch.last() == Some(&signed(gap.epoch));
        if let Some(last) = columns.last.last_mut().filter(|_| joins && gap.reason != GapReason::OverQuota) {
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
             FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) AS g (n, l, e, f, t, r)
             WHERE r <> $7",
            &self.node,
            &self.lane,
            &self.epoch,
            &self.first,
            &self.last,
            &self.reason,
            &*GapReason::OverQuota.name()
        )
        .execute(&mut *connection)
        .await?;
        if self.growing.is_empty() { Ok(()) } else { self.grow(connection).await }
    }

    /// Stores the gaps that may have grown. Planned anew each time: a plan that was made while there were hardly any gaps would
    /// read all of them for each of these.
    async fn grow(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "WITH g AS (
               SELECT n, l::lane AS l, e, f, t, r
               FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) AS g (n, l, e, f, t, r)
               WHERE r = $7
             ), grown AS (
               UPDATE gaps o SET last_seq = g.t, epoch = g.e FROM g
               WHERE o.node_id = g.n AND o.lane = g.l AND o.first_seq = g.f AND o.reason = g.r
               RETURNING g.n, g.l, g.f
             )
             INSERT INTO gaps (node_id, lane, epoch, first_seq, last_seq, reason)
             SELECT n, l, e, f, t, r FROM g WHERE NOT EXISTS (SELECT FROM grown WHERE grown.n = g.n AND grown.l = g.l AND grown.f = g.f)",
            &self.node,
            &self.lane,
            &self.epoch,
            &self.first,
            &self.last,
            &self.reason,
            &*GapReason::OverQuota.name()
        )
        .persistent(false)
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL would insert both rows of one gap, and both would grow from then on.
    #[test]
    fn a_gap_that_grows_is_one_row_whatever_comes_between() {
        let (mut remains, node) = (Remains::default(), NodeId::from_bytes([1; 32]));
        let mut push = |lane, first, last| {
            remains.push_gap(&node, lane, &Gap { epoch: 1, first, last, reason: GapReason::OverQuota });
        };
        push(Lane::Telemetry, 10, 20);
        push(Lane::Alert, 3, 3);
        push(Lane::Telemetry, 10, 30);
        push(Lane::Telemetry, 31, 31);
        assert_eq!((&remains.gaps.first[..], &remains.gaps.last[..]), (&[10, 3, 31][..], &[30, 3, 31][..]));
    }
}
