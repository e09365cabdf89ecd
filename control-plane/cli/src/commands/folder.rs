//! The folder of releases that a command works in.

use anyhow::ensure;
use noderr_releases::{ReleaseFolder, Root};
use std::path::Path;

/// The folder of releases at a path, in which somebody may have laid links that lead elsewhere.
pub(super) fn open(folder: &Path) -> anyhow::Result<ReleaseFolder> {
    let releases = ReleaseFolder::new(folder);
    releases.refuse_links()?;
    ensure!(
        releases.coming::<Root>("root")?.is_some(),
        "{} holds no releases; `noderrctl release init` begins a folder",
        folder.display()
    );
    Ok(releases)
}
