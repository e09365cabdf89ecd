//! One transaction's worth of records of many nodes: judge, store, commit, answer.

use super::columns::Columns;
use super::db;
use super::sequence::{Step, step};
use crate::app::App;
use noderr_protocol::{Entry, Lane, LaneMark, NodeId, Position, RecordBatch};
use std::collections::BTreeMap;

/// How one node's lanes stand after the commit.
pub(super) struct Answer {
    pub(super) node: NodeId,
    pub(super) marks: Vec<LaneMark>,
    /// Something was missing between: the node must send again.
    pub(super) rewind: bool,
}

/// What to make of the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Rows of the tables they are for.
    Read,
    /// Bytes, so that their numbers are accounted for even if no table takes what they say.
    AsTheyCame,
}

/// Stores a batch. Nodes that are unknown or revoked get no answer and nothing stored.
pub(super) async fn store(
    app: &App,
    batch: &[(NodeId, RecordBatch)],
    reading: Reading,
) -> sqlx::Result<Vec<Answer>> {
    let mut wanted: Vec<(NodeId, Lane)> = batch.iter().map(|(node, records)| (*node, records.lane)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut tx = app.database.begin().await?;
    let mut marks = db::lock_lanes(&mut tx, &wanted).await?;
    let mut columns = Columns::default();
    let mut rewinds: BTreeMap<NodeId, bool> = BTreeMap::new();
    for (node, records) in batch {
        let Some(mark) = marks.get_mut(&(*node, records.lane)) else {
            metrics::counter!("noderr_ingest_refused_total").increment(1);
            continue;
        };
        let rewind = rewinds.entry(*node).or_default();
        for entry in records.entries.iter() {
            match step(*mark, entry.clone()) {
                Step::Duplicate => metrics::counter!("noderr_ingest_duplicates_total").increment(1),
                Step::Hole => {
                    *rewind = true;
                    break;
                }
                Step::Store(entry, next) => {
                    *mark = next;
                    match entry {
                        Entry::Record(record) if reading == Reading::AsTheyCame => {
                            columns.push_unreadable(node, records.lane, record);
                        }
                        Entry::Record(record) => columns.push_record(node, records.lane, record),
                        Entry::Gap(gap) => columns.push_gap(node, records.lane, &gap),
                    }
                }
            }
        }
    }
    let stored = columns.telemetry.seq.len() + columns.alerts.seq.len() + columns.unreadable.seq.len();
    db::insert(&mut tx, &columns).await?;
    db::set_marks(&mut tx, &marks).await?;
    tx.commit().await?;
    metrics::counter!("noderr_ingest_records_total").increment(stored as u64);
    Ok(answers(&marks, &rewinds))
}

fn answers(marks: &BTreeMap<(NodeId, Lane), Position>, rewinds: &BTreeMap<NodeId, bool>) -> Vec<Answer> {
    rewinds
        .iter()
        .map(|(node, rewind)| Answer {
            node: *node,
            marks: Lane::ALL
                .into_iter()
                .filter_map(|lane| Some(LaneMark { lane, through: *marks.get(&(*node, lane))? }))
                .collect(),
            rewind: *rewind,
        })
        .collect()
}
