//! Stores the records of many nodes in one transaction: judge, store, commit, answer.

use super::lanes::{Marks, lock_lanes, set_marks};
use super::quota::Quota;
use super::remains::Remains;
use super::sequence::{Step, step};
use crate::state::Fleet;
use noderr_kernel::Sink;
use noderr_protocol::{BatchOutcome, Entry, Lane, LaneMark, NodeId, Record, RecordBatch, payload};
use std::collections::BTreeMap;

/// The answer to one node after the commit: marks and outcome.
pub(super) struct Answer {
    pub(super) node: NodeId,
    pub(super) marks: Vec<LaneMark>,
    pub(super) outcome: BatchOutcome,
}

/// Whether the records of a batch are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoding {
    /// Decode each record into a row of the table of its kind.
    Read,
    /// Store each record undecoded, so that its number is accounted for even if no table takes the record.
    Raw,
}

/// The rows of one transaction.
struct Gathered {
    sinks: Vec<(&'static [u8], Box<dyn Sink>)>,
    remains: Remains,
    records: u64,
}

impl Gathered {
    /// Gives a record to the sink of its kind, or keeps the record as it came if no sink can read it; returns whether one can.
    fn take(&mut self, node: &NodeId, lane: Lane, record: Record, decoding: Decoding) -> bool {
        self.records += 1;
        let kind = payload::kind_of(&record.body).filter(|_| decoding == Decoding::Read);
        let taken = kind.is_some_and(|kind| {
            let mut sinks = self.sinks.iter_mut().filter(|(kinds, _)| kinds.contains(&kind));
            sinks.any(|(_, sink)| sink.take(node, lane, &record))
        });
        if !taken {
            self.remains.push_unreadable(node, lane, record);
        }
        taken
    }
}

/// Stores a batch. Nodes that are unknown or revoked get no answer and nothing stored.
pub(super) async fn store(
    fleet: &Fleet,
    batch: &[(NodeId, RecordBatch)],
    decoding: Decoding,
) -> sqlx::Result<Vec<Answer>> {
    let mut wanted: Vec<(NodeId, Lane)> =
        batch.iter().filter_map(|(node, records)| Some((*node, records.lane.known()?))).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut tx = fleet.kernel.database.begin().await?;
    let mut marks = lock_lanes(&mut tx, &wanted).await?;
    let sinks = fleet.kernel.hooks().sinks();
    let mut gathered = Gathered { sinks, remains: Remains::default(), records: 0 };
    let quota = Quota::of(&fleet.settings.telemetry);
    let outcomes = judge(batch, &mut marks, &mut gathered, (decoding, quota));
    for (_, sink) in &mut gathered.sinks {
        sink.flush(&mut tx).await?;
    }
    gathered.remains.flush(&mut tx).await?;
    set_marks(&mut tx, &marks).await?;
    tx.commit().await?;
    metrics::counter!("noderr_ingest_records_total").increment(gathered.records);
    Ok(answers(&marks, &outcomes))
}

/// Takes the entries that join on, and moves the marks; returns the outcome of each node's records.
fn judge(
    batch: &[(NodeId, RecordBatch)],
    marks: &mut Marks,
    gathered: &mut Gathered,
    (decoding, quota): (Decoding, Quota),
) -> BTreeMap<NodeId, BatchOutcome> {
    let mut outcomes: BTreeMap<NodeId, BatchOutcome> = BTreeMap::new();
    for (node, records) in batch {
        let Some(lane) = records.lane.known() else {
            // The answer to the hello named all lanes that there are.
            metrics::counter!("noderr_ingest_refused_total", "reason" => "lane").increment(1);
            continue;
        };
        let Some(mark) = marks.get_mut(&(*node, lane)) else {
            metrics::counter!("noderr_ingest_refused_total", "reason" => "not-admitted").increment(1);
            continue;
        };
        let outcome = outcomes.entry(*node).or_insert(BatchOutcome::Taken);
        for entry in records.entries.iter() {
            match step(mark.through, entry.clone()) {
                Step::Duplicate => metrics::counter!("noderr_ingest_duplicates_total").increment(1),
                Step::Refused => {
                    *outcome = BatchOutcome::Rewind;
                    break;
                }
                Step::Store(entry, next) => {
                    mark.through = next;
                    let refused = mark.used.refused;
                    match mark.used.take(entry, quota) {
                        Some(Entry::Record(record)) => {
                            let bytes = record.body.len();
                            if !gathered.take(node, lane, record, decoding) && decoding == Decoding::Read {
                                mark.used.was_unreadable(bytes);
                            }
                        }
                        Some(Entry::Gap(gap)) => gathered.remains.push_gap(node, lane, &gap),
                        None => {}
                    }
                    if mark.used.refused > refused {
                        metrics::counter!("noderr_ingest_refused_total", "reason" => "over-quota")
                            .increment(1);
                        if refused == 0 {
                            tracing::warn!(node = %node.short(), %lane, "a node has used up what it may store in a day");
                        }
                    }
                }
            }
        }
    }
    outcomes
}

fn answers(marks: &Marks, outcomes: &BTreeMap<NodeId, BatchOutcome>) -> Vec<Answer> {
    outcomes
        .iter()
        .map(|(node, outcome)| Answer {
            node: *node,
            marks: Lane::ALL
                .into_iter()
                .filter_map(|lane| {
                    Some(LaneMark { lane: lane.tag(), through: marks.get(&(*node, lane))?.through })
                })
                .collect(),
            outcome: *outcome,
        })
        .collect()
}
