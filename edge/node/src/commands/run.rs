//! `noderr-node run`.

use crate::config::Config;
use std::path::Path;

pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    super::init_logs();
    let config = Config::load(path)?;
    super::runtime()?.block_on(crate::runtime::run(config.into()))
}
