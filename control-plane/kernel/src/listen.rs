//! Listens to notices and forwards them: to a bounded worker for each listener of a feature, and to the
//! followers of the notice bus. A notice that was missed, or found a queue full, is made up for by a look
//! round: soon after, and every few seconds anyway.

use crate::kernel::Kernel;
use crate::notices::{CHANNEL, Notice, Topic};
use sqlx::postgres::PgListener;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

const PAUSE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How many keys of one listener may wait.
const QUEUE: usize = 10_000;

type Doing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// What a feature does about a topic.
pub struct Listens<S> {
    topic: Topic,
    /// Whether the key does not matter, so that many notices count as one.
    any: bool,
    act: for<'a> fn(&'a S, &'a str) -> Doing<'a>,
}

impl<S> Listens<S> {
    /// A listener that acts once for each key.
    pub const fn each(topic: Topic, act: for<'a> fn(&'a S, &'a str) -> Doing<'a>) -> Self {
        Self { topic, any: false, act }
    }

    /// A listener that acts once for any number of keys.
    pub const fn any(topic: Topic, act: for<'a> fn(&'a S, &'a str) -> Doing<'a>) -> Self {
        Self { topic, any: true, act }
    }

    pub(crate) fn bind(&'static self, state: &S) -> Listener
    where
        S: Clone + Send + Sync + 'static,
    {
        let state = state.clone();
        let act = move |key: String| -> Doing<'static> {
            let state = state.clone();
            Box::pin(async move { (self.act)(&state, &key).await })
        };
        Listener { topic: self.topic, any: self.any, act: Box::new(act) }
    }
}

/// What a feature looks at in case a notice was missed.
pub type CatchUp<S> = for<'a> fn(&'a S) -> Doing<'a>;

/// A listener that is bound to its state.
pub struct Listener {
    topic: Topic,
    any: bool,
    act: Box<dyn Fn(String) -> Doing<'static> + Send + Sync>,
}

/// A look round that is bound to its state.
pub struct CatchUpRound(Box<dyn Fn() -> Doing<'static> + Send + Sync>);

impl CatchUpRound {
    pub(crate) fn new<S: Clone + Send + Sync + 'static>(catch_up: CatchUp<S>, state: &S) -> Self {
        let state = state.clone();
        Self(Box::new(move || {
            let state = state.clone();
            Box::pin(async move { catch_up(&state).await })
        }))
    }
}

/// Keys that wait for one listener.
struct Worker {
    listener: Listener,
    waiting: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Worker {
    fn new(listener: Listener) -> Self {
        Self { listener, waiting: Mutex::default(), bell: Notify::new() }
    }

    /// Queues a key; `false` if there is no room.
    fn offer(&self, key: &str) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < QUEUE;
        if room {
            waiting.insert(if self.listener.any { String::new() } else { key.to_owned() });
            self.bell.notify_one();
        }
        room
    }

    async fn run(&self, look: &watch::Sender<()>) {
        loop {
            self.bell.notified().await;
            loop {
                let key = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
                let Some(key) = key else { break };
                if let Err(error) = (self.listener.act)(key).await {
                    tracing::warn!(
                        topic = self.listener.topic.0,
                        error = format!("{error:#}"),
                        "a notice was not acted on; looking round"
                    );
                    look.send_replace(());
                }
            }
        }
    }
}

/// Listens and forwards, for ever.
pub async fn listen(kernel: Arc<Kernel>, listeners: Vec<Listener>, rounds: Vec<CatchUpRound>) {
    // A value and not a signal: a round that is under way when something is missed looks once more.
    let look = Arc::new(watch::Sender::new(()));
    let workers: Vec<_> = listeners.into_iter().map(|listener| Arc::new(Worker::new(listener))).collect();
    let mut tasks = JoinSet::new();
    for worker in &workers {
        let (worker, look) = (worker.clone(), look.clone());
        tasks.spawn(async move { worker.run(&look).await });
    }
    for round in rounds {
        tasks.spawn(look_round(round, look.subscribe()));
    }
    tasks.spawn(async move {
        loop {
            if let Err(error) = forward(&kernel, &workers, &look).await {
                tracing::warn!(%error, "notices are not heard");
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    // No task ends by itself.
    tasks.join_next().await;
}

async fn look_round(round: CatchUpRound, mut look: watch::Receiver<()>) {
    loop {
        if let Err(error) = (round.0)().await {
            tracing::warn!(error = format!("{error:#}"), "cannot look round for what was missed");
        }
        tokio::select! {
            _ = look.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn forward(kernel: &Kernel, workers: &[Arc<Worker>], look: &watch::Sender<()>) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(kernel.database.system()).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    look.send_replace(());
    loop {
        let Some(notification) = listener.try_recv().await? else {
            // The connection was lost and is back.
            look.send_replace(());
            continue;
        };
        let notice = Notice::parse(notification.payload());
        metrics::counter!("noderr_notices_total", "topic" => notice.topic.clone()).increment(1);
        for worker in workers.iter().filter(|worker| worker.listener.topic.0 == notice.topic) {
            if !worker.offer(&notice.key) {
                metrics::counter!("noderr_notices_overflowed_total").increment(1);
                look.send_replace(());
            }
        }
        kernel.notices.publish(notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn listener(any: bool, act: impl Fn(String) -> anyhow::Result<()> + Send + Sync + 'static) -> Listener {
        let act = move |key| -> Doing<'static> {
            let done = act(key);
            Box::pin(async move { done })
        };
        Listener { topic: Topic("t"), any, act: Box::new(act) }
    }

    #[tokio::test]
    async fn many_notices_of_one_key_are_acted_on_once_and_a_failure_looks_round() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let worker = Worker::new(listener(false, move |key| {
            counted.fetch_add(1, Ordering::SeqCst);
            anyhow::ensure!(key != "bad");
            Ok(())
        }));
        for key in ["a", "a", "b", "bad"] {
            assert!(worker.offer(key));
        }
        let look = watch::Sender::new(());
        let mut rounds = [look.subscribe(), look.subscribe()];
        tokio::select! {
            () = worker.run(&look) => {}
            _ = rounds[0].changed() => {}
        }
        assert!(rounds[1].has_changed().unwrap(), "every feature looks round, not only one");
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_full_queue_refuses_and_any_key_is_one() {
        let each = Worker::new(listener(false, |_| Ok(())));
        assert!((0..QUEUE).all(|key| each.offer(&key.to_string())));
        assert!(!each.offer("one more"));
        let any = Worker::new(listener(true, |_| Ok(())));
        assert!((0..2 * QUEUE).all(|key| any.offer(&key.to_string())));
    }
}
