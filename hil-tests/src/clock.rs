//! Clocks that are wrong.

use anyhow::Context as _;
use std::fs;
use std::path::PathBuf;

/// The path of libfaketime, which lies to a process about the time of day.
pub(crate) fn faketime() -> anyhow::Result<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").context("no /usr/lib")?;
    libraries
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .context("libfaketime is missing; install faketime")
}
