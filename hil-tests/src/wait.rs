//! Waiting for something to become true, with a deadline and a word on what was waited for.

use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Some`, or fails with what was waited for and the last error seen.
pub async fn until<T, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            return Err(match last {
                Some(error) => error.context(format!("waited {patience:?} for {what}")),
                None => anyhow::anyhow!("waited {patience:?} for {what}"),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
