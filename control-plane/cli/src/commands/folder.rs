//! The folder of releases that a command works in.

use anyhow::ensure;
use noderr_releases::{ReleaseFolder, Root};
use std::path::Path;

/// The folder of releases at a path.
pub(super) fn open(folder: &Path) -> anyhow::Result<ReleaseFolder> {
    let releases = ReleaseFolder::new(folder);
    ensure!(
        releases.coming::<Root>("root")?.is_some(),
        "{} holds no releases; `noderrctl release init` begins a folder",
        folder.display()
    );
    Ok(releases)
}
