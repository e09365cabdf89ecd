//! The section about releases: what a node should hold, and what has become of it.

use super::name::{ReleaseKind, ReleaseName, ReleaseNameError, Tier};
use crate::open::open_enum;
use crate::sections::SectionBody;
use crate::{List, Text};
use serde::{Deserialize, Serialize};

/// The most releases that a box is told to hold, and reports on.
pub const MOST_RELEASES: usize = 16;

/// A release by its parts, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRelease {
    /// The kind.
    pub kind: ReleaseKind,
    /// The name that all its versions share.
    pub name: Text<64>,
    /// The version.
    pub version: Text<64>,
}

/// The releases that the node should hold, one of each series. The node decides by signed metadata whether it may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Releases {
    /// The tier that the network has put the node into.
    pub tier: Option<Tier>,
    /// The releases.
    pub wanted: List<NamedRelease, 16>,
}

impl SectionBody for Releases {
    const KIND: u16 = 3;
    const VERSION: u8 = 1;
}

/// Words that releases may name for the hardware that they run on, as a fact of a node's hello: the architecture, the board.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hardware {
    /// The words.
    pub words: List<Text<64>, 16>,
}

impl SectionBody for Hardware {
    const KIND: u16 = 4;
    const VERSION: u8 = 1;
}

/// What has become of the releases that a node should hold: the body of its report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReleasesReport {
    /// One for each.
    pub releases: List<ReleaseReport, 16>,
    /// Bytes of releases that have come over the network in this month.
    pub month_bytes: u64,
}

impl SectionBody for ReleasesReport {
    const KIND: u16 = Releases::KIND;
    const VERSION: u8 = 1;
}

/// What has become of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReport {
    /// Which one.
    pub release: NamedRelease,
    /// The version of the same kind and name that runs now, if one does.
    pub runs: Option<Text<64>>,
    /// How far the node is.
    pub state: ReleaseState,
}

/// How far a node is with a release. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseState {
    /// The release cannot be had now, and is tried again: nobody answers, or the disk is full. In words for people.
    Waiting(Text<200>),
    /// The release is being fetched.
    Fetching(Transfer),
    /// The release is on the disk, and was verified.
    Held,
    /// The release is not taken, and will not be until something else changes.
    Refused(RefusedRelease),
    /// The node finds out what the release is, and what the node has of the release already.
    Looking,
    /// All of the release has come, and the whole is checked.
    Checking,
}

/// How far a transfer is. What it costs was known before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transfer {
    /// Bytes that have come.
    pub fetched_bytes: u64,
    /// Bytes that come in all.
    pub cost_bytes: u64,
}

/// Why a release is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRelease {
    /// Why.
    pub why: ReleaseRefusal,
    /// What was found, for people.
    pub detail: Text<200>,
}

open_enum! {
    /// Why a node does not take a release.
    ReleaseRefusal, "refusal" {
        /// No release key names the release: it was never released, or was withdrawn.
        NotNamed = 0, "not-named";
        /// The signed metadata has ended, or is older than what the node has seen.
        Stale = 1, "stale";
        /// Too few of the keys that may sign have signed.
        NotSigned = 2, "not-signed";
        /// What came is not what was signed.
        Mismatched = 3, "mismatched";
        /// None of the builders has signed the artefact.
        NotBuilt = 4, "not-built";
        /// The release does not run on this hardware.
        Hardware = 5, "hardware";
        /// What the release requires is not there.
        Requires = 6, "requires";
        /// The release would cost more bytes than the node may spend.
        Budget = 7, "budget";
        /// The release takes more room than there is.
        Room = 8, "room";
        /// This build cannot read what describes the release.
        Malformed = 9, "malformed";
        /// The release is meant for another tier.
        Tier = 10, "tier";
        /// The node holds a release with a greater security epoch.
        Epoch = 11, "epoch";
    }
}

impl From<&ReleaseName> for NamedRelease {
    fn from(release: &ReleaseName) -> Self {
        Self {
            kind: release.kind(),
            name: Text::truncated(release.series.name.as_str()),
            version: Text::truncated(&release.version.to_string()),
        }
    }
}

impl TryFrom<&NamedRelease> for ReleaseName {
    type Error = ReleaseNameError;
    fn try_from(named: &NamedRelease) -> Result<Self, ReleaseNameError> {
        Self::new(&named.kind.name(), &named.name, &named.version)
    }
}
