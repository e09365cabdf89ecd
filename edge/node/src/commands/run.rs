//! `noderr-node run`.

use crate::config::Config;
use noderr_part::Ending;
use std::path::Path;
use std::process::ExitCode;

/// Told to systemd by the exit code: start the node again, or the box (see noderr-node.service).
const RESTART: u8 = 10;
const REBOOT: u8 = 11;

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    super::init_logs();
    let config = Config::load(path)?;
    Ok(match super::runtime()?.block_on(crate::runtime::run(config.into()))? {
        Ending::Stop => ExitCode::SUCCESS,
        Ending::Restart => RESTART.into(),
        Ending::Reboot => REBOOT.into(),
    })
}
