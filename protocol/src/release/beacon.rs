//! The beacon: what is active in each channel, for everybody to read. A node that nobody tells what to hold finds it there; what
//! the beacon names is held only if the signed metadata names it too.

use super::{ReleaseName, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The word for every tier.
pub const ALL_TIERS: &str = "all";
/// The word for any hardware.
pub const ANY_HARDWARE: &str = "any";

/// What is active in each channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// The channels that have a release.
    pub channels: Vec<Active>,
}

/// What is active in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The tier whose nodes hold it, or `all`.
    pub tier: String,
    /// The hardware whose nodes hold it, or `any`.
    pub hardware: String,
    /// The version.
    pub version: String,
    /// The whole name, such as `os/generic/1.4.0`.
    pub release: String,
}

impl Active {
    /// How much a channel is a node's own, if it is for the node: its tier counts before its hardware.
    fn suits(&self, tier: Option<Tier>, hardware: &[String]) -> Option<(bool, bool)> {
        let own_tier = tier.is_some_and(|tier| tier.name() == self.tier);
        let own_hardware = hardware.contains(&self.hardware);
        let is_for_it =
            (own_tier || self.tier == ALL_TIERS) && (own_hardware || self.hardware == ANY_HARDWARE);
        is_for_it.then_some((own_tier, own_hardware))
    }
}

/// The largest beacon that is read.
pub const MAX_BEACON: usize = 256 * 1024;

impl Beacon {
    /// Reads a beacon.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// What a node should hold: of each series the release of the channel that is most its own.
    pub fn wanted(&self, tier: Option<Tier>, hardware: &[String]) -> Vec<ReleaseName> {
        let mut best: BTreeMap<String, ((bool, bool), ReleaseName)> = BTreeMap::new();
        for active in &self.channels {
            let Some(suits) = active.suits(tier, hardware) else { continue };
            let Ok(release) = active.release.parse::<ReleaseName>() else { continue };
            let series = release.series.to_string();
            if best.get(&series).is_none_or(|(before, _)| *before < suits) {
                best.insert(series, (suits, release));
            }
        }
        best.into_values().map(|(_, release)| release).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(release: &str, tier: &str, hardware: &str) -> Active {
        let [kind, name, version] = [0, 1, 2].map(|at| release.split('/').nth(at).unwrap().to_owned());
        Active {
            kind,
            name,
            version,
            tier: tier.to_owned(),
            hardware: hardware.to_owned(),
            release: release.to_owned(),
        }
    }

    #[test]
    fn a_node_finds_the_release_of_the_channel_that_is_most_its_own() {
        let beacon = Beacon {
            channels: vec![
                active("os/generic/1.0.0", "all", "any"),
                active("models/btc/1.0.0", "all", "any"),
                active("models/btc/2.0.0", "all", "x86_64"),
                active("models/btc/3.0.0", "oracle", "any"),
                active("models/btc/4.0.0", "oracle", "aarch64"),
                active("models/btc/5.0.0", "guardian", "x86_64"),
                active("nonsense/btc/5.0.0", "all", "any"),
            ],
        };
        let wanted = |tier, hardware: &[&str]| -> Vec<String> {
            let hardware: Vec<_> = hardware.iter().map(|word| (*word).to_owned()).collect();
            beacon.wanted(tier, &hardware).iter().map(ToString::to_string).collect()
        };
        assert_eq!(wanted(None, &["riscv"]), ["models/btc/1.0.0", "os/generic/1.0.0"]);
        assert_eq!(wanted(None, &["x86_64"]), ["models/btc/2.0.0", "os/generic/1.0.0"]);
        assert_eq!(wanted(Some(Tier::Oracle), &["x86_64"]), ["models/btc/3.0.0", "os/generic/1.0.0"]);
        assert_eq!(wanted(Some(Tier::Oracle), &["aarch64"]), ["models/btc/4.0.0", "os/generic/1.0.0"]);
    }
}
