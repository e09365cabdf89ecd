//! A stick, or another folder, with releases for a box without a network, or with an expensive one: what lies on the stick is
//! trusted no more than what a server sends, and a stick that does not answer is no stick.

use crate::shared::Shared;
use crate::status::Board;
use noderr_protocol::release::{BEACON_FILE, Beacon, MAX_BEACON, MOST_RELEASES, ReleaseName, Tier};
use noderr_update::StickFolder;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often to look whether a stick was put in.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What makes a folder a stick.
const TIMESTAMP: &str = "metadata/timestamp.json";
/// The longest timestamp that makes a folder a stick.
const LONGEST_MARK: u64 = 64 * 1024;

/// What tells one stick from another, wherever and however often it is put in: what was signed last, and what it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    timestamp: Vec<u8>,
    /// Bytes of the beacon, and when it was written.
    beacon: Option<(u64, SystemTime)>,
}

/// A stick that is there.
#[derive(Debug, Clone)]
pub(super) struct Stick {
    pub(super) folder: StickFolder,
    mark: Mark,
}

/// Where sticks are put in.
pub(super) struct Port {
    folder: Option<StickFolder>,
    board: Board,
}

impl Port {
    pub(super) fn new(shared: &Shared) -> Self {
        let folder = shared.config.releases.stick.clone().map(StickFolder::new);
        Self { folder, board: shared.board.clone() }
    }

    /// The stick that is there now; what is found is shown on the board.
    pub(super) async fn stick(&self) -> Option<Stick> {
        let folder = self.folder.clone()?;
        let timestamp = folder.read(TIMESTAMP.into(), LONGEST_MARK).await;
        let found = match &timestamp {
            Ok(_) => "releases are on it".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => nothing_on(&folder).await,
            Err(error) => error.to_string(),
        };
        self.board.update(|status| status.stick = Some(found));
        let timestamp = timestamp.ok()?;
        let beacon = folder.ask(|root| fs::symlink_metadata(root.join(BEACON_FILE))).await;
        let beacon = beacon.ok().and_then(|beacon| Some((beacon.len(), beacon.modified().ok()?)));
        Some(Stick { folder, mark: Mark { timestamp, beacon } })
    }

    /// Ends when another stick is put in, but not before a moment; without a setting, never.
    pub(super) async fn another_is_put_in(&self, before: Option<&Stick>, not_before: Instant) {
        if self.folder.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(now) = self.stick().await
                && before.is_none_or(|before| before.mark != now.mark)
            {
                return tokio::time::sleep_until(not_before).await;
            }
        }
    }
}

/// Why there are no releases where sticks are put in.
async fn nothing_on(folder: &StickFolder) -> String {
    match folder.ask(|root| Ok(fs::read_dir(root)?.next().is_some())).await {
        Ok(true) => format!("no releases on it: {TIMESTAMP} and {BEACON_FILE} belong at its top"),
        Ok(false) => "nothing is there".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "nothing is there".to_owned(),
        Err(error) => error.to_string(),
    }
}

impl Stick {
    /// What the stick says of channels, as it lies there.
    pub(super) async fn beacon(&self) -> Option<Vec<u8>> {
        self.folder.read(BEACON_FILE.into(), MAX_BEACON as u64).await.ok()
    }
}

/// Releases that a beacon offers to a node, newer than those that the node should hold or holds: whoever puts a stick in leads no
/// box back.
pub(super) fn offers(
    beacon: &[u8],
    (tier, words): (Option<Tier>, &[String]),
    (wanted, held): (&[ReleaseName], &[ReleaseName]),
) -> Vec<ReleaseName> {
    let beacon = Beacon::read(beacon)
        .inspect_err(|error| tracing::warn!(%error, "the stick does not say what should be held"));
    let offered = beacon.map(|beacon| beacon.wanted(tier, words)).unwrap_or_default();
    newer(wanted, held, offered)
}

fn newer(wanted: &[ReleaseName], held: &[ReleaseName], offered: Vec<ReleaseName>) -> Vec<ReleaseName> {
    let is_newer = |offered: &ReleaseName| {
        let mut same = wanted.iter().filter(|known| known.series == offered.series);
        let mut held = held.iter().filter(|known| known.series == offered.series);
        same.all(|known| known.version < offered.version) && held.all(|held| held.version <= offered.version)
    };
    offered.into_iter().filter(is_newer).take(MOST_RELEASES).collect()
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
