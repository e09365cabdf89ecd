//! From the broker's channel to the database: workers that gather, store and answer.

use super::batch::{self, Decoding};
use super::gather::{Gatherer, Single, Task};
use super::{marks, presence};
use crate::state::Fleet;
use noderr_broker::{Intake, IntakeQueue};
use noderr_protocol::{Heartbeat, NodeId, RecordBatch, Up};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the last reports may take at a stop.
const FINISH: Duration = Duration::from_secs(20);
/// What a row costs in the database beside its content, so that a node pays for many tiny records.
const ROW_BYTES: usize = 200;
/// What unreadable records cost: a query and an answer of their own.
const UNREADABLE_BYTES: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(500);

/// The running workers.
pub struct Ingest {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Ingest {
    /// Starts the workers; returns the way to them.
    pub fn start(fleet: &Arc<Fleet>) -> (Intake, Self) {
        let closing = CancellationToken::new();
        let (intake, queues) = Intake::new(fleet.settings.telemetry.workers, &closing);
        let mut tasks = JoinSet::new();
        for queue in queues {
            tasks.spawn(work(fleet.clone(), queue));
        }
        (intake, Self { tasks, closing })
    }

    /// Returns when a worker has ended, which none does by itself while there is something to take.
    pub async fn ended(&mut self) -> String {
        format!("{:?}", self.tasks.join_next().await)
    }

    /// Takes nothing more and waits until all reports that were taken are stored, but only for some time,
    /// because a database that is away may stay away: records that are not acknowledged are still in the
    /// nodes' spools.
    pub async fn finish(mut self) {
        self.closing.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "an ingest worker failed");
                }
            }
        };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            tracing::warn!("the database did not take all reports; the nodes will send their records again");
        }
    }
}

async fn work(fleet: Arc<Fleet>, queue: IntakeQueue) {
    let settings = &fleet.settings.telemetry;
    let linger = Duration::from_millis(settings.linger_ms);
    let mut gatherer = Gatherer::new(queue, settings.batch, linger);
    let mut had_room = true;
    while let Some(task) = gatherer.next().await {
        match task {
            Task::Bulk(bulk) => {
                charge(&fleet, &bulk.records);
                let has_room = fleet.kernel.database.has_room();
                if had_room != has_room {
                    tracing::warn!(
                        has_room,
                        "room on the database's disk; without it, nodes keep their records"
                    );
                }
                had_room = has_room;
                if has_room {
                    store(&fleet, &bulk.records).await;
                } else {
                    metrics::counter!("noderr_ingest_refused_total", "reason" => "no-room").increment(1);
                }
                store_heartbeats(&fleet, bulk.beats).await;
            }
            Task::Single(node, single) => {
                if let Err(error) = retry_until_stored(|| handle(&fleet, &node, &single)).await {
                    give_up_on(&node, &error);
                }
            }
        }
    }
}

fn charge(fleet: &Arc<Fleet>, records: &[(NodeId, RecordBatch)]) {
    let Some(broker) = fleet.broker() else { return };
    for (node, batch) in records {
        broker.charge(node, batch.entries.len() * ROW_BYTES);
    }
}

async fn handle(fleet: &Arc<Fleet>, node: &NodeId, single: &Single) -> sqlx::Result<()> {
    match single {
        Single::Gone => presence::gone(fleet, node).await,
        Single::Unreadable(lane) => {
            if let Some(broker) = fleet.broker() {
                broker.charge(node, UNREADABLE_BYTES);
            }
            marks::unreadable(fleet, node, *lane).await
        }
        Single::Message(Up::Hello(hello)) => {
            // The hello is committed and answered: what a feature fails to say now, its look round says later, and no other
            // node waits for it.
            if presence::hello(fleet, node, hello).await?
                && let Err(error) = fleet.kernel.hooks().greet(node).await
            {
                tracing::error!(node = %node.short(), %error, "a node was not told all that it is to be told");
            }
            Ok(())
        }
        Single::Message(message @ Up::ActualState(actual)) => {
            presence::actual_state(fleet, node, actual).await?;
            // What a section's body says is for the feature that wanted the section.
            fleet.kernel.hooks().hear(node, message).await?;
            Ok(())
        }
        Single::Message(message) => {
            if !fleet.kernel.hooks().hear(node, message).await? {
                metrics::counter!("noderr_ingest_refused_total", "reason" => "unheard").increment(1);
            }
            Ok(())
        }
    }
}

/// Stores a batch and answers. Records that the database refuses for their content must not stop those of
/// other nodes: then each node's share is tried alone, and the share at fault is kept as it came, undecoded.
async fn store(fleet: &Arc<Fleet>, records: &[(NodeId, RecordBatch)]) {
    if records.is_empty() {
        return;
    }
    if let Ok(answers) = retry_until_stored(|| batch::store(fleet, records, Decoding::Read)).await {
        return answer(fleet, answers).await;
    }
    for share in records.chunks(1) {
        let mut stored = retry_until_stored(|| batch::store(fleet, share, Decoding::Read)).await;
        if let Err(error) = &stored {
            tracing::warn!(node = %share[0].0.short(), %error, "the database refuses the records' content");
            stored = retry_until_stored(|| batch::store(fleet, share, Decoding::Raw)).await;
        }
        match stored {
            Ok(answers) => answer(fleet, answers).await,
            Err(error) => give_up_on(&share[0].0, &error),
        }
    }
}

/// Notes heartbeats, all at once; or, if the database refuses one for its content, each alone.
async fn store_heartbeats(fleet: &Arc<Fleet>, beats: BTreeMap<NodeId, Heartbeat>) {
    let beats: Vec<_> = beats.into_iter().collect();
    if beats.is_empty() || retry_until_stored(|| presence::heartbeats(fleet, &beats)).await.is_ok() {
        return;
    }
    for beat in beats.chunks(1) {
        if let Err(error) = retry_until_stored(|| presence::heartbeats(fleet, beat)).await {
            give_up_on(&beat[0].0, &error);
        }
    }
}

async fn answer(fleet: &Arc<Fleet>, answers: Vec<batch::Answer>) {
    for answer in answers {
        marks::send(fleet, &answer.node, answer.marks, answer.outcome).await;
    }
}

fn give_up_on(node: &NodeId, error: &sqlx::Error) {
    metrics::counter!("noderr_ingest_refused_total", "reason" => "poison").increment(1);
    tracing::error!(node = %node.short(), %error, "a report that the database refuses is dropped");
}

/// Whether the same statement may succeed later. The content of a record can be at fault in few ways only:
/// values that do not fit (22), a constraint with a name (23; a missing partition has no constraint), limits
/// of the database (54).
fn is_passing(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(error) => error.code().is_none_or(|code| match &code[..2.min(code.len())] {
            "22" | "54" => false,
            "23" => error.constraint().is_none() && code != "23502",
            _ => true,
        }),
        None => !matches!(
            error,
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
        ),
    }
}

/// Tries until the database answers: meanwhile the queue fills, and the nodes keep their records.
async fn retry_until_stored<T, F>(mut attempt: impl FnMut() -> F) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    loop {
        match attempt().await {
            Err(error) if !is_passing(&error) => return Err(error),
            Ok(done) => return Ok(done),
            Err(error) => {
                metrics::counter!("noderr_ingest_retries_total").increment(1);
                tracing::warn!(%error, "the database does not take a report; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
