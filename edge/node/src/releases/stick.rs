//! A stick, or another folder, with releases for a box without a network, or with an expensive one: what lies on the stick is
//! trusted no more than what a server sends, and a stick that does not answer is no stick.

use crate::shared::Shared;
use noderr_protocol::release::{Beacon, MAX_BEACON, ReleaseName, Tier};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

/// How often to look whether a stick was put in.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a stick may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most releases that are taken of a stick's beacon.
const MOST: usize = 16;

/// What tells one stick from another: the file that is written last, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    file: u64,
    written_s: i64,
}

/// A stick that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stick {
    pub(super) folder: PathBuf,
    mark: Mark,
}

/// Where sticks are put in.
pub(super) struct Port {
    folder: Option<PathBuf>,
    /// Whether a look has not come back yet: there is one at a time, however long it takes.
    looking: Arc<AtomicBool>,
}

impl Port {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { folder: shared.config.releases.stick.clone(), looking: Arc::default() }
    }

    /// The stick that is there now.
    pub(super) async fn stick(&self) -> Option<Stick> {
        let folder = self.folder.clone()?;
        if self.looking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (looked, looking) = (folder.clone(), self.looking.clone());
        let look = spawn_blocking(move || {
            let mark = mark(&looked);
            looking.store(false, Ordering::Release);
            mark
        });
        let mark = timeout(PATIENCE, look).await.ok()?.ok()??;
        Some(Stick { folder, mark })
    }

    /// Ends when another stick is put in, but not before a moment; without a setting, never.
    pub(super) async fn another_is_put_in(&self, before: Option<&Stick>, not_before: Instant) {
        if self.folder.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.stick().await;
            if now.is_some() && now.as_ref() != before {
                return tokio::time::sleep_until(not_before).await;
            }
        }
    }
}

fn mark(folder: &Path) -> Option<Mark> {
    let timestamp = fs::symlink_metadata(folder.join("metadata/timestamp.json"));
    let found = timestamp.ok().filter(fs::Metadata::is_file)?;
    Some(Mark { device: found.dev(), file: found.ino(), written_s: found.mtime() })
}

impl Stick {
    /// Releases that the stick offers to a node of this tier, newer than those that the node should hold or holds: whoever puts
    /// a stick in leads no box back. Waits for the stick.
    pub(super) fn offers(
        &self,
        (tier, words): (Option<Tier>, &[String]),
        (wanted, held): (&[ReleaseName], &[ReleaseName]),
    ) -> Vec<ReleaseName> {
        let offered = self.beacon().map(|beacon| beacon.wanted(tier, words)).unwrap_or_default();
        newer(wanted, held, offered)
    }

    fn beacon(&self) -> Option<Beacon> {
        let path = self.folder.join("beacon.json");
        fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MAX_BEACON as u64).read_to_end(&mut bytes).ok()?;
        Beacon::read(&bytes)
            .inspect_err(|error| tracing::warn!(%error, "the stick does not say what should be held"))
            .ok()
    }
}

fn newer(wanted: &[ReleaseName], held: &[ReleaseName], offered: Vec<ReleaseName>) -> Vec<ReleaseName> {
    let is_newer = |offered: &ReleaseName| {
        let mut same = wanted.iter().filter(|known| known.series == offered.series);
        let mut held = held.iter().filter(|known| known.series == offered.series);
        same.all(|known| known.version < offered.version) && held.all(|held| held.version <= offered.version)
    };
    offered.into_iter().filter(is_newer).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_leads_no_box_back() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let wanted = names(&["os/generic/1.1.0", "models/btc/1.0.0"]);
        for (held, offered, is_taken) in [
            (vec![], "os/generic/1.2.0", true),
            (vec![], "os/generic/1.1.0", false),
            (vec![], "os/generic/1.0.0", false),
            (vec!["os/generic/1.3.0"], "os/generic/1.2.0", false),
            (vec!["os/generic/1.2.0"], "os/generic/1.2.0", true),
            (vec![], "models/eth/0.1.0", true),
        ] {
            let taken = newer(&wanted, &names(&held), names(&[offered]));
            assert_eq!(!taken.is_empty(), is_taken, "{offered} beside {held:?}");
        }
    }
}
