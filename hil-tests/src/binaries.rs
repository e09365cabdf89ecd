//! Where the programs under test are: beside the running program.

use anyhow::Context as _;
use std::path::PathBuf;

/// The path of one of the workspace's programs, built with the same profile as the running program.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built; run `cargo build --workspace --bins` first"))
}
