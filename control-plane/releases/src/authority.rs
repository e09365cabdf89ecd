//! Whose signatures count for a role, and how many of them.

use crate::ReleaseError;
use crate::key::PublicKey;
use crate::metadata::{Metadata, RoleKeys, Root, Targets};
use crate::signed::SignedMetadata;
use std::collections::{BTreeMap, BTreeSet};

/// So many signatures of these keys are lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// How many.
    pub signatures: usize,
    /// The ids of the keys that have not signed.
    pub of: Vec<String>,
}

/// Keys of which some must sign, as metadata above has it.
pub(crate) struct Authority {
    keys: BTreeMap<String, PublicKey>,
    role: RoleKeys,
}

impl Authority {
    fn of(keys: &BTreeMap<String, PublicKey>, role: &RoleKeys) -> Self {
        Self { keys: keys.clone(), role: role.clone() }
    }

    /// The keys that a root has for a role.
    pub(crate) fn of_root(root: &Root, role: &str) -> Result<Self, ReleaseError> {
        let keys = root.roles.get(role).ok_or_else(|| ReleaseError::Missing(role.to_owned()))?;
        Ok(Self::of(&root.keys, keys))
    }

    /// The keys of a role that may name some targets.
    pub(crate) fn of_delegation(targets: &Targets, role: &str) -> Result<Self, ReleaseError> {
        let delegations = targets.delegations.as_ref();
        let found = delegations.and_then(|all| Some((all, all.roles.iter().find(|one| one.name == role)?)));
        let (all, one) = found.ok_or_else(|| ReleaseError::Missing(role.to_owned()))?;
        Ok(Self::of(&all.keys, &one.keys))
    }

    /// How many must sign.
    pub(crate) const fn threshold(&self) -> usize {
        self.role.threshold
    }

    /// Whether a key is one of its keys.
    pub(crate) fn has(&self, key: &PublicKey) -> bool {
        self.role.keyids.contains(&key.id())
    }

    /// Whether enough have signed.
    pub(crate) fn is_met<M: Metadata>(&self, draft: &SignedMetadata<M>) -> bool {
        self.role.threshold > 0 && self.signed(draft) >= self.role.threshold
    }

    /// How many of its keys have signed.
    pub(crate) fn signed<M: Metadata>(&self, draft: &SignedMetadata<M>) -> usize {
        self.signers(draft).len()
    }

    /// The ids of those who have signed; a key that is named twice counts once.
    fn signers<M: Metadata>(&self, draft: &SignedMetadata<M>) -> BTreeSet<&String> {
        draft.signers(self.role.keyids.iter().filter_map(|id| Some((id, self.keys.get(id)?))))
    }

    /// Whose signatures are lacking, if some are.
    pub(crate) fn lack<M: Metadata>(&self, draft: &SignedMetadata<M>) -> Option<Lack> {
        let signers = self.signers(draft);
        let signatures = self.role.threshold.saturating_sub(signers.len());
        let of = self.role.keyids.iter().filter(|id| !signers.contains(id)).cloned().collect();
        (signatures > 0).then_some(Lack { signatures, of })
    }
}
