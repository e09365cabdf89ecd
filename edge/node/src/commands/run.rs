//! `noderr-node run`.

use crate::config::Config;
use noderr_part::Ending;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Told to systemd by the exit code: start the node again, or the box (see noderr-node.service).
const RESTART: u8 = 10;
const REBOOT: u8 = 11;
/// How long work in the background may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    super::init_logs();
    let config = Config::load(path)?;
    let runtime = super::runtime()?;
    let ending = runtime.block_on(crate::runtime::run(config.into()));
    // What a large artefact on a slow disk would have waited for goes on at the next start.
    runtime.shutdown_timeout(FAREWELL);
    Ok(match ending? {
        Ending::Stop => ExitCode::SUCCESS,
        Ending::Restart => RESTART.into(),
        Ending::Reboot => REBOOT.into(),
    })
}
