//! Workers: as many as a queue allows, each taking one piece after another.

use super::{Done, ENQUEUED, Piece, Queue, db};
use crate::kernel::Kernel;
use crate::notices::Notice;
use async_trait::async_trait;
use rand::Rng as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How often a worker looks for pieces without a notice: a notice may be missed, and a retry sends none.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FIRST_PAUSE_S: f64 = 2.0;
const LONGEST_PAUSE_S: f64 = 3600.0;

/// A queue that is bound to its state.
pub struct WorkedQueue(pub(crate) Arc<dyn BoundQueue>);

impl WorkedQueue {
    /// Binds a queue to its state.
    pub fn new<S: Send + Sync + 'static>(queue: impl Queue<S> + 'static, state: S) -> Self {
        Self(Arc::new(Bound(Box::new(queue), state)))
    }
}

#[async_trait]
pub(crate) trait BoundQueue: Send + Sync {
    fn name(&self) -> &'static str;
    fn concurrency(&self) -> usize;
    fn lease(&self) -> Duration;
    fn attempts(&self) -> i32;
    async fn run(&self, piece: Piece) -> anyhow::Result<Done>;
}

struct Bound<S>(Box<dyn Queue<S>>, S);

/// A queue that lives for ever, as a feature declares it.
struct Declared<S: 'static>(&'static dyn Queue<S>);

pub(crate) const fn declared<S: Send + Sync>(queue: &'static dyn Queue<S>) -> impl Queue<S> + 'static {
    Declared(queue)
}

#[async_trait]
impl<S: Send + Sync> Queue<S> for Declared<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency()
    }

    fn lease(&self) -> Duration {
        self.0.lease()
    }

    fn attempts(&self) -> i32 {
        self.0.attempts()
    }

    async fn run(&self, state: &S, piece: Piece) -> anyhow::Result<Done> {
        self.0.run(state, piece).await
    }
}

#[async_trait]
impl<S: Send + Sync> BoundQueue for Bound<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency()
    }

    fn lease(&self) -> Duration {
        self.0.lease()
    }

    fn attempts(&self) -> i32 {
        self.0.attempts()
    }

    async fn run(&self, piece: Piece) -> anyhow::Result<Done> {
        self.0.run(&self.1, piece).await
    }
}

/// Works on all queues, for ever.
pub async fn run_queues(kernel: Arc<Kernel>, queues: Vec<WorkedQueue>) {
    let mut workers = JoinSet::new();
    for WorkedQueue(queue) in queues {
        for _ in 0..queue.concurrency() {
            workers.spawn(work(kernel.clone(), queue.clone()));
        }
    }
    // No worker ends by itself; without a queue there is no worker to wait for.
    if workers.join_next().await.is_none() {
        std::future::pending().await
    }
}

async fn work(kernel: Arc<Kernel>, queue: Arc<dyn BoundQueue>) {
    let mut notices = kernel.notices.subscribe();
    loop {
        match db::take(kernel.database.system(), queue.name(), queue.lease().as_secs_f64()).await {
            Ok(Some(piece)) => {
                if let Err(error) = attempt(&kernel, &queue, piece).await {
                    tracing::warn!(queue = queue.name(), %error, "the outcome of a piece of work was not written down");
                }
            }
            Ok(None) => wait(&mut notices, queue.name()).await,
            Err(error) => {
                tracing::warn!(queue = queue.name(), %error, "work cannot be looked up");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Waits until there may be something to do.
async fn wait(notices: &mut Receiver<Notice>, queue: &str) {
    let told = async {
        loop {
            match notices.recv().await {
                Ok(notice) if notice.topic == ENQUEUED.0 && notice.key == queue => return,
                Ok(_) => {}
                // A notice was missed, or the bus is gone: look at the table.
                Err(_) => return tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    tokio::select! {
        () = told => {}
        () = tokio::time::sleep(LOOK_EVERY) => {}
    }
}

async fn attempt(kernel: &Kernel, queue: &Arc<dyn BoundQueue>, piece: Piece) -> sqlx::Result<()> {
    let pool = kernel.database.system();
    let (id, lease, attempt) = (piece.id, piece.lease, piece.attempt);
    let failure = if attempt > queue.attempts() {
        // Each attempt ended its whole process, and the next would do so too.
        "every worker that took it ended before the work was done".to_owned()
    } else {
        let running = queue.clone();
        let mut running = AbortOnDropHandle::new(tokio::spawn(async move { running.run(piece).await }));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = lease_lost(kernel, &**queue, id, lease) => {
                count(&**queue, "lost");
                return Ok(());
            }
        };
        match ended {
            Ok(Ok(Done(()))) => {
                count(&**queue, "done");
                return Ok(());
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => format!("panicked: {error}"),
        }
    };
    if attempt >= queue.attempts() {
        tracing::error!(queue = queue.name(), %id, failure, "a piece of work was given up");
        count(&**queue, "given_up");
        db::give_up(pool, id, lease, &failure).await
    } else {
        tracing::warn!(queue = queue.name(), %id, failure, "a piece of work failed and will be tried again");
        count(&**queue, "failed");
        db::retry(pool, id, lease, pause_s(attempt), &failure).await
    }
}

fn count(queue: &dyn BoundQueue, outcome: &'static str) {
    metrics::counter!("noderr_work_total", "queue" => queue.name(), "outcome" => outcome).increment(1);
}

/// The pause before the next attempt: doubles with each attempt, up to an hour, and is jittered, so that
/// pieces that failed together are not tried together.
fn pause_s(attempt: i32) -> f64 {
    let doubled = FIRST_PAUSE_S * 2_f64.powi((attempt - 1).clamp(0, 30));
    doubled.min(LONGEST_PAUSE_S) * rand::rng().random_range(0.5..=1.0)
}

/// Renews the lease of a piece; returns once the lease is lost.
async fn lease_lost(kernel: &Kernel, queue: &dyn BoundQueue, id: Uuid, lease: Uuid) {
    loop {
        tokio::time::sleep(queue.lease() / 3).await;
        let renewed = db::renew(kernel.database.system(), id, lease, queue.lease().as_secs_f64()).await;
        if matches!(renewed, Ok(false)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        for (attempt, least, most) in [(1, 1.0, 2.0), (2, 2.0, 4.0), (5, 16.0, 32.0), (40, 1800.0, 3600.0)] {
            let pause = pause_s(attempt);
            assert!((least..=most).contains(&pause), "{attempt}: {pause}");
        }
    }
}
