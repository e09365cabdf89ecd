//! Divides a worker's queue into tasks: records and heartbeats in bulk, everything else alone and in its
//! place.

use noderr_broker::{IntakeQueue, UpEvent, UpMessage};
use noderr_protocol::{
    Heartbeat, Lane, LaneTag, Message as _, NodeId, RecordBatch, Up, UpKind, WIRE_VERSION,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(super) enum Task {
    Bulk(Bulk),
    Single(NodeId, Single),
}

/// Records and heartbeats of any number of nodes, to be stored together.
#[derive(Default)]
pub(super) struct Bulk {
    pub(super) records: Vec<(NodeId, RecordBatch)>,
    /// The newest heartbeat of each node.
    pub(super) beats: BTreeMap<NodeId, Heartbeat>,
}

/// A message or event that is seldom, and is handled alone.
pub(super) enum Single {
    /// A message other than records or a heartbeat.
    Message(Up),
    /// Records that this build cannot read, with their lane, if at least that can be read.
    Unreadable(Option<Lane>),
    /// The session ended.
    Gone,
}

enum Report {
    Records(RecordBatch),
    Heartbeat(Heartbeat),
    Single(Single),
}

pub(super) struct Gatherer {
    queue: IntakeQueue,
    /// How many rows are enough for a bulk.
    enough: usize,
    /// How long the first report of a bulk waits for more reports.
    linger: Duration,
    /// The report that ended the last bulk, and is the next task.
    carried: Option<(NodeId, Single)>,
}

impl Gatherer {
    pub(super) const fn new(queue: IntakeQueue, enough: usize, linger: Duration) -> Self {
        Self { queue, enough, linger, carried: None }
    }

    /// Gathers a bulk until there are enough rows, until its first report has waited long enough, or until a
    /// report comes that is handled alone.
    pub(super) async fn next(&mut self) -> Option<Task> {
        if let Some((node, single)) = self.carried.take() {
            return Some(Task::Single(node, single));
        }
        let (mut bulk, mut count) = (Bulk::default(), 0);
        let mut deadline = None;
        while count < self.enough {
            let event = match deadline {
                None => self.queue.recv().await,
                Some(deadline) => match timeout_at(deadline, self.queue.recv()).await {
                    Ok(event) => event,
                    Err(_) => break,
                },
            };
            let Some(event) = event else { break };
            match read(event) {
                None => continue,
                Some((node, Report::Records(batch))) => {
                    count += batch.entries.len();
                    bulk.records.push((node, batch));
                }
                Some((node, Report::Heartbeat(beat))) => {
                    count += 1;
                    bulk.beats.insert(node, beat);
                }
                Some((node, Report::Single(single))) if deadline.is_none() => {
                    return Some(Task::Single(node, single));
                }
                Some((node, Report::Single(single))) => {
                    self.carried = Some((node, single));
                    break;
                }
            }
            deadline.get_or_insert_with(|| Instant::now() + self.linger);
        }
        deadline.map(|_| Task::Bulk(bulk))
    }
}

/// Decodes an event. A message that cannot be read, or whose topic and envelope differ in kind, is counted
/// and dropped, except that unreadable records are reported as such.
fn read(event: UpEvent) -> Option<(NodeId, Report)> {
    let UpMessage { node, kind, payload } = match event {
        UpEvent::Disconnected(node) => return Some((node, Report::Single(Single::Gone))),
        UpEvent::Message(message) => message,
    };
    let report = match Up::decode(&payload) {
        Ok(message) if message.kind() != kind => {
            metrics::counter!("noderr_unreadable_total", "what" => "topic").increment(1);
            return None;
        }
        Ok(Up::Records(batch)) => Report::Records(batch),
        Ok(Up::Heartbeat(beat)) => Report::Heartbeat(beat),
        Ok(message) => Report::Single(Single::Message(message)),
        Err(error) => {
            tracing::debug!(node = %node.short(), %error, "a message is not readable");
            metrics::counter!("noderr_unreadable_total", "what" => "message").increment(1);
            // Records must be answered, or they would be sent again for ever.
            return (kind == UpKind::Records)
                .then_some((node, Report::Single(Single::Unreadable(lane_of(&payload)))));
        }
    };
    Some((node, report))
}

/// The lane of records whose entries cannot be read: the lane is the first field after version and kind.
fn lane_of(payload: &[u8]) -> Option<Lane> {
    let [WIRE_VERSION, _, lane, ..] = payload else { return None };
    LaneTag::of_byte(*lane).known()
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_broker::Intake;
    use noderr_protocol::{Gap, GapReason, Lane};

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn report(node: NodeId, message: &Up) -> UpEvent {
        let payload = message.encode().expect("encodes").into();
        UpEvent::Message(UpMessage { node, kind: message.kind(), payload })
    }

    fn records(first: u64) -> Up {
        let gap = Gap { epoch: 1, first, last: first, reason: GapReason::Budget };
        let entries = vec![noderr_protocol::Entry::Gap(gap)].try_into().expect("one fits");
        Up::Records(RecordBatch { lane: Lane::Telemetry.tag(), entries })
    }

    fn beat(backlog: u64) -> Up {
        let failing = Vec::new().try_into().expect("none fits");
        Up::Heartbeat(Heartbeat { time: 0, process_uptime_s: 0, failing, backlog, lost: 0 })
    }

    async fn gatherer(events: Vec<UpEvent>, enough: usize) -> Gatherer {
        let (intake, queue) = Intake::for_one();
        for event in events {
            intake.send(event).await.expect("there is room");
        }
        Gatherer::new(queue, enough, Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn heartbeats_do_not_cut_a_bulk_of_records_and_the_newest_counts() {
        let events = vec![
            report(node(1), &records(1)),
            report(node(1), &beat(7)),
            report(node(2), &records(1)),
            report(node(1), &beat(8)),
            report(node(1), &records(2)),
        ];
        let mut gatherer = gatherer(events, 100).await;
        let Some(Task::Bulk(bulk)) = gatherer.next().await else { unreachable!("records come in bulk") };
        assert_eq!(bulk.records.len(), 3);
        assert_eq!(
            bulk.beats.iter().map(|(node, beat)| (*node, beat.backlog)).collect::<Vec<_>>(),
            [(node(1), 8)]
        );
        assert!(gatherer.next().await.is_none());
    }

    #[tokio::test]
    async fn what_has_a_place_of_its_own_keeps_it() {
        let events = vec![
            report(node(1), &records(1)),
            UpEvent::Disconnected(node(1)),
            report(node(1), &records(2)),
            report(node(1), &records(3)),
        ];
        let mut gatherer = gatherer(events, 100).await;
        assert!(matches!(gatherer.next().await, Some(Task::Bulk(bulk)) if bulk.records.len() == 1));
        assert!(matches!(gatherer.next().await, Some(Task::Single(_, Single::Gone))));
        assert!(matches!(gatherer.next().await, Some(Task::Bulk(bulk)) if bulk.records.len() == 2));
    }

    #[tokio::test]
    async fn a_bulk_is_no_larger_than_enough() {
        let events = (1..=5).map(|first| report(node(1), &records(first))).collect();
        let mut gatherer = gatherer(events, 2).await;
        for expected in [2, 2, 1] {
            assert!(
                matches!(gatherer.next().await, Some(Task::Bulk(bulk)) if bulk.records.len() == expected)
            );
        }
    }
}
