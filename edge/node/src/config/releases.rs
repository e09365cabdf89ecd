//! The settings of releases.

use anyhow::ensure;
use noderr_update::StoreLimits;
use serde::Deserialize;
use std::path::PathBuf;

/// What releases may take and cost.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Releases {
    /// MiB that releases may take on disk.
    pub(crate) store_mib: u64,
    /// Versions of a release that are kept.
    pub(crate) versions: usize,
    /// MiB that may come over the network in a month.
    pub(crate) month_mib: Option<u64>,
    /// KiB a second that a transfer may take.
    pub(crate) kib_per_s: Option<u64>,
    /// Whether a release is left alone of which more than half would have to come.
    pub(crate) never_whole: bool,
    /// Words for this hardware, beside the architecture.
    pub(crate) hardware: Vec<String>,
    /// Folder where a stick with releases is mounted when it is put in.
    pub(crate) stick: Option<PathBuf>,
    /// Whether mirrors may stand in the network that the box stands in.
    pub(crate) private_places: bool,
    /// File with further root certificates, PEM, for mirrors.
    pub(crate) place_roots: Option<PathBuf>,
    /// File with the root of the network's releases, in place of the one that enrolment gave.
    pub(crate) root: Option<PathBuf>,
    /// Seconds between looks at what is released, beside being told.
    pub(crate) look_every_s: u64,
    /// Seconds without a session after which the node asks what it should hold.
    pub(crate) ask_after_s: u64,
}

impl Default for Releases {
    fn default() -> Self {
        Self {
            store_mib: 4096,
            versions: 3,
            month_mib: None,
            kib_per_s: None,
            never_whole: false,
            hardware: Vec::new(),
            stick: None,
            private_places: false,
            place_roots: None,
            root: None,
            look_every_s: 3600,
            ask_after_s: 900,
        }
    }
}

impl Releases {
    /// What releases may take on disk.
    pub(crate) const fn store_limits(&self) -> StoreLimits {
        StoreLimits { bytes: self.store_mib << 20, versions: self.versions }
    }

    /// Words that releases may name for this box: its architecture, and what stands in the file.
    pub(crate) fn words(&self) -> Vec<String> {
        std::iter::once(std::env::consts::ARCH.to_owned()).chain(self.hardware.iter().cloned()).collect()
    }

    /// Refuses settings that cannot work, naming the field.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=1 << 30).contains(&self.store_mib), "releases.store_mib must be 1 to {}", 1 << 30);
        ensure!(self.versions >= 1, "releases.versions must be at least 1");
        ensure!(self.look_every_s >= 1, "releases.look_every_s must be at least 1");
        ensure!(self.ask_after_s >= 1, "releases.ask_after_s must be at least 1");
        ensure!(
            self.kib_per_s.is_none_or(|least| least >= 16),
            "releases.kib_per_s must be at least 16: slower than that, a server is given up"
        );
        Ok(())
    }
}
