//! Waiting with a deadline, for a condition or for the end of a process; the error says what was waited for.

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Some`, or fails with `what` and the last error.
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

/// Starts a program in a process group of its own, so that Ctrl-C does not reach the program directly. Its
/// output is added to `log`.
pub(crate) fn start_logged(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let process = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok(process)
}

/// Asks a process to stop, as an init system would, and waits for its end, which must be a success.
pub(crate) async fn ask_to_stop(mut process: Child, who: &str, patience: Duration) -> anyhow::Result<()> {
    if let Some(pid) = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        kill_process(pid, Signal::TERM)?;
    }
    let status = tokio::time::timeout(patience, process.wait()).await;
    let status = status.with_context(|| format!("{who} did not stop within {patience:?}"))??;
    ensure!(status.success(), "{who} stopped badly: {status}");
    Ok(())
}
