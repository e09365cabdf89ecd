//! From the broker's channel to the database: workers that gather, store and answer.

use super::batch::{self, Reading};
use super::presence;
use crate::app::App;
use crate::features::attestation;
use noderr_broker::{UpEvent, UpMessage};
use noderr_protocol::{Message as _, NodeId, RecordBatch, Up};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Messages of one worker that wait; beyond it reading from the nodes stops.
const QUEUE: usize = 1024;
/// For the last reports at a stop.
const FINISH: Duration = Duration::from_secs(20);
/// What a row costs in the database beside what it says: a node that sends many tiny ones pays for them.
const ROW_BYTES: usize = 200;
const PAUSE: Duration = Duration::from_millis(500);

/// The running workers.
pub(crate) struct Ingest {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Ingest {
    /// Starts the workers behind `events`.
    pub(crate) fn start(app: &App, mut events: mpsc::Receiver<UpEvent>) -> Self {
        let mut tasks = JoinSet::new();
        let workers: Vec<_> = (0..app.config.telemetry.workers.max(1))
            .map(|_| {
                let (sender, queue) = mpsc::channel(QUEUE);
                tasks.spawn(work(app.clone(), queue));
                sender
            })
            .collect();
        let closing = CancellationToken::new();
        let close = closing.clone();
        tasks.spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = close.cancelled(), if !events.is_closed() => {
                        // Takes nothing new; what was taken is still handed on.
                        events.close();
                        continue;
                    }
                };
                let Some(event) = event else { return };
                // One node always goes to one worker: its messages stay in order.
                let share = usize::from(node_of(&event).as_bytes()[0]) % workers.len();
                if workers[share].send(event).await.is_err() {
                    tracing::error!("an ingest worker is gone");
                    return;
                }
            }
        });
        Self { tasks, closing }
    }

    /// Takes nothing more and waits until everything that was taken is stored; for some time only, as a database that
    /// is away may stay away: what is not acknowledged is still in the nodes' spools.
    pub(crate) async fn finish(mut self) {
        self.closing.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "an ingest worker failed");
                }
            }
        };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            tracing::warn!("the database did not take what has come in; the nodes will send it again");
        }
    }
}

fn node_of(event: &UpEvent) -> &NodeId {
    match event {
        UpEvent::Disconnected(node) => node,
        UpEvent::Message(message) => &message.node,
    }
}

/// What a worker does next: records in bulk, everything else one by one and in its place.
enum Task {
    Records(Vec<(NodeId, RecordBatch)>),
    Other(NodeId, Other),
}

enum Other {
    Gone,
    Message(Up),
}

async fn work(app: App, mut queue: mpsc::Receiver<UpEvent>) {
    let mut carried = None;
    while let Some(task) = next(&app, &mut queue, &mut carried).await {
        match task {
            Task::Records(records) => store(&app, &records).await,
            Task::Other(node, other) => {
                if let Err(error) = insist(|| handle(&app, &node, &other)).await {
                    drop_poison(&node, &error);
                }
            }
        }
    }
}

/// Gathers records until there are enough, until nothing more comes for a moment, or until something else comes.
async fn next(app: &App, queue: &mut mpsc::Receiver<UpEvent>, carried: &mut Option<UpEvent>) -> Option<Task> {
    let settings = &app.config.telemetry;
    let (mut records, mut count) = (Vec::new(), 0);
    let mut deadline = None;
    loop {
        let event = match (carried.take(), deadline) {
            (Some(event), _) => Some(event),
            (None, None) => queue.recv().await,
            (None, Some(deadline)) => match tokio::time::timeout_at(deadline, queue.recv()).await {
                Ok(event) => event,
                Err(_) => return Some(Task::Records(records)),
            },
        };
        let Some(event) = event else { return (!records.is_empty()).then_some(Task::Records(records)) };
        match sort(event) {
            None => {}
            Some(Task::Records(more)) => {
                if let Some(broker) = app.broker() {
                    more.iter()
                        .for_each(|(node, batch)| broker.charge(node, batch.entries.len() * ROW_BYTES));
                }
                count += more.iter().map(|(_, batch)| batch.entries.len()).sum::<usize>();
                records.extend(more);
                if count >= settings.batch {
                    return Some(Task::Records(records));
                }
                deadline.get_or_insert_with(|| {
                    tokio::time::Instant::now() + Duration::from_millis(settings.linger_ms)
                });
            }
            Some(Task::Other(node, other)) if records.is_empty() => return Some(Task::Other(node, other)),
            Some(Task::Other(node, other)) => {
                *carried = Some(other.back_to_event(node));
                return Some(Task::Records(records));
            }
        }
    }
}

impl Other {
    fn back_to_event(self, node: NodeId) -> UpEvent {
        match self {
            Self::Gone => UpEvent::Disconnected(node),
            Self::Message(message) => UpEvent::Message(UpMessage {
                node,
                kind: message.kind(),
                payload: message.encode().unwrap_or_default().into(),
            }),
        }
    }
}

/// Decodes; what cannot be read, or says one thing in its topic and another in its envelope, is counted and dropped.
fn sort(event: UpEvent) -> Option<Task> {
    match event {
        UpEvent::Disconnected(node) => Some(Task::Other(node, Other::Gone)),
        UpEvent::Message(UpMessage { node, kind, payload }) => match Up::decode(&payload) {
            Ok(message) if message.kind() != kind => {
                metrics::counter!("noderr_unreadable_total", "what" => "topic").increment(1);
                None
            }
            Ok(Up::Records(batch)) => Some(Task::Records(vec![(node, batch)])),
            Ok(message) => Some(Task::Other(node, Other::Message(message))),
            Err(error) => {
                tracing::debug!(node = %node.short(), %error, "a message is not readable");
                metrics::counter!("noderr_unreadable_total", "what" => "message").increment(1);
                None
            }
        },
    }
}

async fn handle(app: &App, node: &NodeId, other: &Other) -> sqlx::Result<()> {
    match other {
        Other::Gone => presence::gone(app, node).await,
        Other::Message(Up::Hello(hello)) => presence::hello(app, node, hello).await,
        Other::Message(Up::Heartbeat(beat)) => presence::heartbeat(app, node, beat).await,
        Other::Message(Up::ActualState(actual)) => presence::actual_state(app, node, actual).await,
        Other::Message(Up::AttestationAnswer(answer)) => attestation::take_answer(app, node, answer).await,
        // Sorted into batches before it comes here.
        Other::Message(Up::Records(_)) => Ok(()),
    }
}

/// Stores a batch and answers. What the database refuses for what it is, and not for how the database is, must not
/// stop the nodes beside it: then each node's share is tried alone, and the one at fault is kept as it came, unread.
async fn store(app: &App, records: &[(NodeId, RecordBatch)]) {
    if let Ok(answers) = insist(|| batch::store(app, records, Reading::Read)).await {
        return answer(app, answers).await;
    }
    for share in records.chunks(1) {
        let mut stored = insist(|| batch::store(app, share, Reading::Read)).await;
        if let Err(error) = &stored {
            tracing::warn!(node = %share[0].0.short(), %error, "the database refuses records for what they say");
            stored = insist(|| batch::store(app, share, Reading::AsTheyCame)).await;
        }
        match stored {
            Ok(answers) => answer(app, answers).await,
            Err(error) => drop_poison(&share[0].0, &error),
        }
    }
}

async fn answer(app: &App, answers: Vec<batch::Answer>) {
    for answer in answers {
        presence::send_marks(app, &answer.node, answer.marks, answer.rewind).await;
    }
}

fn drop_poison(node: &NodeId, error: &sqlx::Error) {
    metrics::counter!("noderr_ingest_refused_total").increment(1);
    tracing::error!(node = %node.short(), %error, "the database refuses a report for what it says; it is dropped");
}

/// Whether the same statement may succeed later. What a record says can be at fault in few ways only: values that do
/// not fit (22), a constraint with a name (23; a missing partition has none), limits of the database itself (54).
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

/// Tries until the database is there: meanwhile the queue fills, and the nodes keep what they have.
async fn insist<T, F>(mut attempt: impl FnMut() -> F) -> sqlx::Result<T>
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
