//! The floor: the newest that the box has believed whole. The TUF client keeps each file as it comes, so that a refresh that was refused
//! midway, or that a power cut ended, could leave a newer timestamp without the snapshot that it would be held against; with
//! the floor, what was believed once is never undercut.

use super::error::{Refusal, TrustError};
use super::kept::LARGEST;
use noderr_part::{read_file, replace_file};
use serde::{Deserialize, Serialize};
use sigstore_tuf::TrustedMetadataSet;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Versions below which nothing is believed any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    root: u64,
    /// The keys that sign online. Under other keys the versions begin anew: that is how a stolen key's highest versions end.
    online: BTreeSet<String>,
    snapshot: u64,
    roles: BTreeMap<String, u64>,
}

/// The floor on the disk.
pub(super) struct KeptFloor {
    places: [PathBuf; 2],
    floor: Floor,
    /// Whether both copies on the disk say so.
    is_whole: bool,
}

impl KeptFloor {
    /// The floor in a folder. A copy that cannot be read, or is damaged, is passed over and written anew: nobody comes to a box to
    /// mend it.
    pub(super) fn open(folder: &Path) -> Self {
        let places = ["floor", "floor.copy"].map(|name| folder.join(name));
        let copies = places.iter().map(|place| {
            let read = read_file(place, LARGEST).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            read.inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    let place = place.display();
                    tracing::error!(%error, %place, "what was believed of releases is damaged, and is written anew");
                }
            })
        });
        let copies: Vec<Option<Floor>> = copies.map(Result::ok).collect();
        let is_whole = copies.iter().all(|copy| copy.is_some() && *copy == copies[0]);
        let floor = copies.into_iter().flatten().next().unwrap_or_default();
        Self { places, floor, is_whole }
    }

    /// Holds metadata that was verified whole against the floor, and raises the floor.
    pub(super) fn raise(&mut self, trusted: &TrustedMetadataSet) -> Result<(), TrustError> {
        let root = trusted.root();
        let of = |role: &str| root.role(role).into_iter().flat_map(|keys| keys.keyids.iter().cloned());
        let online = of("snapshot").chain(of("timestamp")).collect();
        let Some(snapshot) = trusted.snapshot() else {
            return Err(Refusal::Malformed.because("there is no snapshot".to_owned()));
        };
        let roles = snapshot.meta.iter().map(|(name, meta)| (name.clone(), meta.version)).collect();
        let new = Floor { root: root.version, online, snapshot: snapshot.version, roles };
        if let Some(below) = self.floor.undercut_by(&new) {
            return Err(Refusal::RolledBack.because(below));
        }
        if new != self.floor || !self.is_whole {
            self.write(&new).map_err(TrustError::Disk)?;
            (self.floor, self.is_whole) = (new, true);
        }
        Ok(())
    }

    fn write(&self, floor: &Floor) -> io::Result<()> {
        let bytes = serde_json::to_vec(floor)?;
        // Twice: what is on a bad sector is not forgotten.
        self.places.iter().try_for_each(|place| replace_file(place, &bytes))
    }
}

impl Floor {
    /// What lies below this floor, in words.
    fn undercut_by(&self, new: &Self) -> Option<String> {
        if new.root < self.root {
            return Some(format!("root {} after root {}", new.root, self.root));
        }
        if new.online != self.online {
            return None;
        }
        if new.snapshot < self.snapshot {
            return Some(format!("snapshot {} after snapshot {}", new.snapshot, self.snapshot));
        }
        let below =
            self.roles.iter().find(|(role, version)| new.roles.get(*role).is_none_or(|new| new < *version));
        below.map(|(role, version)| format!("{role} is older than version {version}, or gone"))
    }
}
