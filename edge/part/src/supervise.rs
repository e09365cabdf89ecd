//! Keeps the parts of the node running: a part that ends or panics is started again after a pause. The box stands in
//! a stranger's home; there is nobody to press a button.

use crate::backoff::Backoff;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A part that ran this long was well; the pauses begin anew at its next failure.
const WELL: Duration = Duration::from_secs(300);
/// How long a part may take to put things in order before the end.
const GRACE: Duration = Duration::from_secs(5);

/// The running parts, and the token that stops them.
#[derive(Default)]
pub struct Supervisor {
    parts: JoinSet<()>,
    stop: CancellationToken,
}

impl Supervisor {
    /// The token that is cancelled when the node is told to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
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
