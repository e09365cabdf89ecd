//! Keeps the parts of the node running: a part that ends or panics is started again after a pause. The box stands in
//! a stranger's home; there is nobody to press a button.

use crate::backoff::Backoff;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A part that ran this long was well; the pauses begin anew at its next failure.
const WELL: Duration = Duration::from_secs(300);
/// How long a part may take to put things in order before the end.
const GRACE: Duration = Duration::from_secs(5);

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The node was told to stop.
    Stop,
    /// The process is to be started again, with another build or another configuration.
    Restart,
    /// The box is to be started again.
    Reboot,
}

/// With which a part has the whole process end in order; cheap to clone.
#[derive(Debug, Clone)]
pub struct EndOrder(watch::Sender<Option<Ending>>);

impl EndOrder {
    /// Orders the end; the first order counts.
    pub fn give(&self, ending: Ending) {
        self.0.send_if_modified(|order| {
            let first = order.is_none();
            order.get_or_insert(ending);
            first
        });
    }
}

/// The running parts, and the token that stops them.
pub struct Supervisor {
    parts: JoinSet<()>,
    stop: CancellationToken,
    order: EndOrder,
}

impl Default for Supervisor {
    fn default() -> Self {
        let order = EndOrder(watch::Sender::new(None));
        Self { parts: JoinSet::new(), stop: CancellationToken::new(), order }
    }
}

impl Supervisor {
    /// The token that is cancelled when the node is told to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// For a part that may have the process end.
    pub fn end_order(&self) -> EndOrder {
        self.order.clone()
    }

    /// Waits until the end is ordered.
    pub async fn ordered(&self) -> Ending {
        let mut order = self.order.0.subscribe();
        let ordered = order.wait_for(Option::is_some).await.map(|order| *order);
        ordered.ok().flatten().unwrap_or(Ending::Stop)
    }

    /// Runs the part that `start` makes, again and again. On the order to stop, the part is dropped where it
    /// waits.
    pub fn keep<F>(&mut self, name: &'static str, start: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_with_grace(name, Duration::ZERO, start);
    }

    /// Runs a part like [`keep`](Self::keep), but gives the part a grace period on the order to stop: for a
    /// part that watches [`stop_token`](Self::stop_token) because it has something to put in order.
    pub fn keep_until_tidy<F>(&mut self, name: &'static str, start: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_with_grace(name, GRACE, start);
    }

    fn keep_with_grace<F>(
        &mut self,
        name: &'static str,
        grace: Duration,
        mut start: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.parts.spawn(async move {
            let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
            loop {
                let began = Instant::now();
                let mut part = AbortOnDropHandle::new(tokio::spawn(start()));
                let ended = tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        if !grace.is_zero() && tokio::time::timeout(grace, part).await.is_err() {
                            tracing::warn!(part = name, "not tidy within {grace:?}");
                        }
                        return;
                    }
                    ended = &mut part => ended,
                };
                match ended {
                    Ok(()) => tracing::warn!(part = name, "a part of the node ended; starting it again"),
                    Err(error) => {
                        tracing::error!(part = name, %error, "a part of the node failed; starting it again")
                    }
                }
                if began.elapsed() > WELL {
                    backoff.reset();
                }
                tokio::select! {
                    () = tokio::time::sleep(backoff.pause()) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Tells every part to stop and waits for them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.parts.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_part_that_orders_a_restart_ends_all_parts_in_order() {
        let (mut supervisor, tidied) = (Supervisor::default(), Arc::new(AtomicU32::new(0)));
        let (stop, counted) = (supervisor.stop_token(), tidied.clone());
        supervisor.keep_until_tidy("tidy", move || {
            let (stop, counted) = (stop.clone(), counted.clone());
            async move {
                stop.cancelled().await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let order = supervisor.end_order();
        supervisor.keep("updater", move || {
            let order = order.clone();
            async move {
                order.give(Ending::Restart);
                order.give(Ending::Reboot);
                std::future::pending().await
            }
        });
        assert_eq!(supervisor.ordered().await, Ending::Restart);
        supervisor.stop().await;
        assert_eq!(tidied.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_falls_is_started_again_and_one_that_is_not_tidy_in_time_is_dropped() {
        let (mut supervisor, starts, third) =
            (Supervisor::default(), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, reached) = (starts.clone(), third.clone());
        supervisor.keep_until_tidy("falls", move || {
            let (counted, reached) = (counted.clone(), reached.clone());
            async move {
                match counted.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("as a part may"),
                    1 => {}
                    _ => {
                        reached.notify_one();
                        std::future::pending().await
                    }
                }
            }
        });
        third.notified().await;
        supervisor.stop().await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
