//! How a folder begins.

use crate::ReleaseError;
use crate::folder::ReleaseFolder;
use crate::key::PublicKey;
use crate::metadata::{Roles, Root, Targets};
use crate::shelves::shelves;
use crate::signed::SignedMetadata;
use noderr_protocol::release::{BUILDERS, Builders, ReleaseKind};

/// Who signs what from the first root on.
pub struct FirstKeys<'a> {
    /// Roots, and how many of them must sign one.
    pub root: (&'a [&'a PublicKey], usize),
    /// Which roles there are.
    pub targets: &'a PublicKey,
    /// Releases of each kind, in the order of [`ReleaseKind::KNOWN`].
    pub kinds: [&'a PublicKey; 2],
    /// Snapshots and timestamps: the control plane's key.
    pub online: &'a PublicKey,
}

impl ReleaseFolder {
    /// Prepares the first root and the roles below it.
    pub fn begin(
        &self,
        keys: &FirstKeys<'_>,
        builders: &Builders,
        ends: jiff::Timestamp,
    ) -> Result<(), ReleaseError> {
        let roles = Roles {
            root: keys.root,
            targets: (&[keys.targets], 1),
            snapshot: (&[keys.online], 1),
            timestamp: (&[keys.online], 1),
        };
        let mut top = Targets::new(1, ends);
        let builders =
            serde_json::to_vec(builders).map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        top.targets.insert(BUILDERS.to_owned(), self.put_target(BUILDERS, &builders)?);
        for (kind, key) in ReleaseKind::KNOWN.iter().map(|kind| kind.name()).zip(keys.kinds) {
            top.delegate(&kind, &[&format!("{kind}/*/*")], &[key], 1);
            for (role, says) in shelves(&kind, ends, &[key], 1) {
                self.put_draft(&role, &SignedMetadata::new(says))?;
            }
        }
        self.put_draft("targets", &SignedMetadata::new(top))?;
        // Last: with a root, the folder is one.
        self.put_draft("root", &SignedMetadata::new(Root::new(1, ends, &roles)))
    }
}
