//! Other keys: one takes the place of another, or one goes, wherever it may sign. What it has signed is prepared anew for those who
//! sign from then on.

use crate::ReleaseError;
use crate::folder::ReleaseFolder;
use crate::key::PublicKey;
use crate::metadata::{Delegations, RoleKeys, Root, Targets};
use crate::signed::SignedMetadata;
use std::collections::{BTreeMap, BTreeSet};

/// One key in the place of another, or of none.
struct Change<'a> {
    old: &'a PublicKey,
    new: Option<&'a PublicKey>,
}

impl Change<'_> {
    /// Changes who may sign a role; whether anything has changed.
    fn apply(&self, role: &str, keys: &mut RoleKeys) -> Result<bool, ReleaseError> {
        let (old, new) = (self.old.id(), self.new.map(PublicKey::id));
        if !keys.keyids.contains(&old) {
            return Ok(false);
        }
        if new.as_ref().is_some_and(|new| keys.keyids.contains(new)) {
            return Err(ReleaseError::Key(format!("the new key may sign {role} already")));
        }
        keys.keyids = keys.keyids.iter().filter(|id| **id != old).cloned().chain(new).collect();
        if keys.keyids.len() < keys.threshold {
            return Err(ReleaseError::Key(format!(
                "{role} takes {} keys, and {} would be left: name a key that takes its place",
                keys.threshold,
                keys.keyids.len()
            )));
        }
        Ok(true)
    }

    /// Names the new key, and no key that nobody needs.
    fn tidy(&self, keys: &mut BTreeMap<String, PublicKey>, used: &BTreeSet<String>) {
        keys.extend(self.new.map(|new| (new.id(), new.clone())));
        keys.retain(|id, _| used.contains(id));
    }

    fn in_root(&self, root: &mut Root) -> Result<Vec<String>, ReleaseError> {
        let mut changed = Vec::new();
        for (role, keys) in &mut root.roles {
            if self.apply(role, keys)? {
                changed.push(role.clone());
            }
        }
        let used = root.roles.values().flat_map(|keys| keys.keyids.clone()).collect();
        self.tidy(&mut root.keys, &used);
        Ok(changed)
    }

    fn in_delegations(&self, delegations: &mut Delegations) -> Result<Vec<String>, ReleaseError> {
        let mut changed = Vec::new();
        for role in &mut delegations.roles {
            if self.apply(&role.name, &mut role.keys)? {
                changed.push(role.name.clone());
            }
        }
        let used = delegations.roles.iter().flat_map(|role| role.keys.keyids.clone()).collect();
        self.tidy(&mut delegations.keys, &used);
        Ok(changed)
    }
}

/// The keys that sign online, on a machine with a network.
pub(crate) fn online_keys(root: &Root) -> BTreeSet<&String> {
    let roles = ["snapshot", "timestamp"].into_iter().filter_map(|role| root.roles.get(role));
    roles.flat_map(|keys| &keys.keyids).collect()
}

/// The keys that a root has for what is signed offline.
pub(crate) fn offline_keys_of(root: &Root) -> impl Iterator<Item = &String> {
    let roles = ["root", "targets"].into_iter().filter_map(|role| root.roles.get(role));
    roles.flat_map(|keys| &keys.keyids)
}

/// The keys to which a role delegates.
pub(crate) fn delegated_keys(targets: &Targets) -> impl Iterator<Item = &String> {
    let roles = targets.delegations.iter().flat_map(|delegations| &delegations.roles);
    roles.flat_map(|role| &role.keys.keyids)
}

impl ReleaseFolder {
    /// Whether a key signed for this network once, and does not any more.
    pub fn was_given_up(&self, key: &PublicKey) -> Result<bool, ReleaseError> {
        let id = key.id();
        let (mut signed, mut signs) = (false, false);
        for version in self.versions("root")? {
            let root: Option<SignedMetadata<Root>> = self.version("root", version)?;
            signs = root.is_some_and(|root| root.says().keys.contains_key(&id));
            signed |= signs;
        }
        let mut delegated = false;
        for version in self.versions("targets")? {
            let targets: Option<SignedMetadata<Targets>> = self.version("targets", version)?;
            delegated =
                targets.is_some_and(|targets| delegated_keys(targets.says()).any(|known| *known == id));
            signed |= delegated;
        }
        Ok(signed && !signs && !delegated)
    }

    /// Prepares every role that `old` may sign, so that `new` may in its place, or nobody; returns the roles.
    pub fn replace_key(&self, old: &PublicKey, new: Option<&PublicKey>) -> Result<Vec<String>, ReleaseError> {
        let change = Change { old, new };
        let missing = || ReleaseError::Missing("root".to_owned());
        let mut root = self.coming::<Root>("root")?.ok_or_else(missing)?.says().clone();
        let mut resigned: BTreeSet<_> = change.in_root(&mut root)?.into_iter().collect();
        let root_changes = !resigned.is_empty();
        let mut says = Vec::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let mut targets: Targets = self.next(&role)?;
            let changed = targets.delegations.as_mut().map(|all| change.in_delegations(all)).transpose()?;
            // Whoever says who signs says so anew, and whoever signs from now on signs anew.
            let changed = changed.unwrap_or_default();
            if !changed.is_empty() {
                resigned.insert(role.clone());
            }
            resigned.extend(changed);
            says.push((role, targets));
        }
        if resigned.is_empty() {
            let signs =
                self.newest::<Root>("root")?.is_some_and(|root| root.says().keys.contains_key(&old.id()))
                    || self
                        .newest::<Targets>("targets")?
                        .is_some_and(|top| delegated_keys(top.says()).any(|id| *id == old.id()));
            let why = match signs {
                true => {
                    "that is prepared already, and waits for signatures: `noderrctl release show` shows them"
                }
                false => "the key signs nothing here",
            };
            return Err(ReleaseError::Key(why.to_owned()));
        }
        let online = online_keys(&root);
        let offline =
            offline_keys_of(&root).chain(says.iter().flat_map(|(_, targets)| delegated_keys(targets)));
        if let Some(both) = offline.into_iter().find(|id| online.contains(id)) {
            return Err(ReleaseError::OnlineToo(both.clone()));
        }
        // Those who say who signs come last: where a power cut ends this halfway, the same command finds the rest to do.
        for (role, targets) in says.into_iter().rev().filter(|(role, _)| resigned.contains(role)) {
            self.put_draft(&role, &SignedMetadata::new(targets))?;
        }
        if root_changes {
            resigned.insert("root".to_owned());
            root.version = self.newest_version("root")?.unwrap_or_default() + 1;
            self.put_draft("root", &SignedMetadata::new(root))?;
        }
        // The control plane signs these anew by itself.
        Ok(resigned.into_iter().filter(|role| role != "snapshot" && role != "timestamp").collect())
    }
}
