//! A stick, or another folder, with releases for a box whose network lacks: what lies on it is trusted no more than a server.

use crate::shared::Shared;
use noderr_protocol::release::{Beacon, ReleaseName, Tier};
use noderr_update::store_in;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How often to look whether a stick was put in.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The largest beacon that is read.
const LARGEST: u64 = 256 * 1024;

/// What tells one stick from another: when its last file was written, and which file that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64, u64, i64);

/// The folder, if there is something in it now.
pub(super) fn folder(shared: &Shared) -> Option<PathBuf> {
    mark(shared).and(shared.config.releases.stick.clone())
}

/// Which stick is there now.
pub(super) fn mark(shared: &Shared) -> Option<Mark> {
    let newest = shared.config.releases.stick.as_ref()?.join("metadata/timestamp.json");
    let found = fs::symlink_metadata(newest).ok().filter(fs::Metadata::is_file)?;
    Some(Mark(found.dev(), found.ino(), found.mtime()))
}

/// Ends when another stick is there than before; without a setting, never.
pub(super) async fn comes(shared: &Shared, before: Option<Mark>) {
    if shared.config.releases.stick.is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = shared.clone();
        let now = spawn_blocking(move || mark(&looked)).await.ok().flatten();
        if now.is_some() && now != before {
            return;
        }
    }
}

/// What a node of this tier should hold, where nobody but a stick can say it.
pub(super) fn wanted(shared: &Shared, tier: Option<Tier>, told: &[ReleaseName]) -> Option<Vec<ReleaseName>> {
    let offered = beacon(shared)?.wanted(tier, &shared.config.releases.words());
    let held = store_in(&shared.data, shared.config.releases.store_limits()).held();
    let held: Vec<_> = held.iter().map(|held| held.release().clone()).collect();
    Some(newer(told, &held, offered))
}

fn beacon(shared: &Shared) -> Option<Beacon> {
    let path = folder(shared)?.join("beacon.json");
    fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(%error, "the stick does not say what should be held"))
        .ok()
}

/// What is told, but for what is offered in a newer version. Whoever puts a stick in leads no box back.
fn newer(told: &[ReleaseName], held: &[ReleaseName], offered: Vec<ReleaseName>) -> Vec<ReleaseName> {
    let mut wanted = told.to_vec();
    for offered in offered {
        let mut known = told.iter().chain(held).filter(|known| known.series == offered.series);
        if known.any(|known| known.version > offered.version) {
            continue;
        }
        wanted.retain(|told| told.series != offered.series);
        wanted.push(offered);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_leads_no_box_back() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let told = names(&["os/generic/1.1.0", "models/btc/1.0.0"]);
        for (held, offered, wanted) in [
            (vec![], vec!["os/generic/1.2.0"], vec!["models/btc/1.0.0", "os/generic/1.2.0"]),
            (vec![], vec!["os/generic/1.0.0"], vec!["os/generic/1.1.0", "models/btc/1.0.0"]),
            (
                vec!["os/generic/1.3.0"],
                vec!["os/generic/1.2.0"],
                vec!["os/generic/1.1.0", "models/btc/1.0.0"],
            ),
            (
                vec![],
                vec!["models/eth/0.1.0"],
                vec!["os/generic/1.1.0", "models/btc/1.0.0", "models/eth/0.1.0"],
            ),
        ] {
            assert_eq!(newer(&told, &names(&held), names(&offered)), names(&wanted), "{offered:?}");
        }
    }
}
