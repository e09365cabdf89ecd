//! Whether metadata means what it seems to mean: who signs is shown ids and names, and whoever holds the stick may have
//! written them.

use crate::key::PublicKey;
use crate::metadata::{Delegations, RoleKeys, Root, Targets};
use std::collections::{BTreeMap, BTreeSet};

/// The roles of a root, as they are sorted.
const TOP: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// More keys than the roles of one document ever have, and than one role has.
const MOST_KEYS: usize = 256;
const MOST_OF_A_ROLE: usize = 64;
/// More letters than the name of a role has, and than that of a release.
const LONGEST: usize = 128;
const LONGEST_NAME: usize = 200;

fn sound(is: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(otherwise()) }
}

/// A key is one that this tool makes, and goes by its own id.
fn check_keys(keys: &BTreeMap<String, PublicKey>) -> Result<(), String> {
    sound(keys.len() <= MOST_KEYS, || format!("it names more than {MOST_KEYS} keys"))?;
    keys.iter().try_for_each(|(id, key)| {
        sound(key.is_sound(), || "a key is not a key as this tool writes it".to_owned())?;
        sound(*id == key.id(), || format!("the key {} goes by the id {id:?} of another", key.id()))
    })
}

/// Text that goes into names of files and onto terminals.
fn is_plain(text: &str, more: &str) -> bool {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || more.contains(char);
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(fits)
}

pub(crate) fn is_name_of_role(text: &str) -> bool {
    is_plain(text, "-") && text.len() <= LONGEST
}

impl Delegations {
    fn check(&self) -> Result<(), String> {
        check_keys(&self.keys)?;
        let mut names = BTreeSet::new();
        self.roles.iter().try_for_each(|role| {
            let name = role.name.escape_debug();
            let is_free = is_name_of_role(&role.name) && !TOP.contains(&role.name.as_str());
            sound(is_free, || format!("`{name}` is no name of a role"))?;
            // A box asks the first of a name, and a person reads the last.
            sound(names.insert(&role.name), || format!("{name} is there twice"))?;
            sound(role.terminating, || format!("{name} lets others name what it does not"))?;
            let all = |names: &[String], more: &str| {
                !names.is_empty() && names.iter().all(|name| is_plain(name, more))
            };
            let has_names = match (&role.paths[..], &role.path_hash_prefixes[..]) {
                (paths, []) => all(paths, "-./*"),
                ([], prefixes) => all(prefixes, ""),
                _ => false,
            };
            sound(has_names, || format!("{name} has no paths, or strange ones"))?;
            role.keys.check(&self.keys)
        })
    }
}

impl Root {
    pub(crate) fn check_roles(&self) -> Result<(), String> {
        check_keys(&self.keys)?;
        sound(self.consistent_snapshot, || "its files would be replaced while they are fetched".to_owned())?;
        let names: Vec<_> = self.roles.keys().map(String::as_str).collect();
        sound(names == TOP, || format!("its roles are not {}", TOP.join(", ")))?;
        self.roles.values().try_for_each(|keys| keys.check(&self.keys))
    }
}

impl Targets {
    pub(crate) fn check_names(&self) -> Result<(), String> {
        self.delegations.as_ref().map_or(Ok(()), Delegations::check)?;
        self.targets.iter().try_for_each(|(name, target)| {
            let is_name = is_plain(name, "-_./")
                && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
            sound(is_name, || format!("`{}` is no name of a release", name.escape_debug()))?;
            let hash = target.hashes.get("sha256").filter(|_| target.hashes.len() == 1);
            let is_hash =
                hash.is_some_and(|hash| hash.len() == 64 && is_plain(hash, "") && hex::decode(hash).is_ok());
            sound(is_hash, || format!("{name} has another hash than one SHA-256"))
        })
    }
}

impl RoleKeys {
    fn check(&self, keys: &BTreeMap<String, PublicKey>) -> Result<(), String> {
        let own: BTreeSet<_> = self.keyids.iter().collect();
        sound(self.keyids.len() <= MOST_OF_A_ROLE, || format!("a role has more than {MOST_OF_A_ROLE} keys"))?;
        sound(own.len() == self.keyids.len(), || "a key is named twice for a role".to_owned())?;
        sound(own.iter().all(|id| keys.contains_key(*id)), || "a key of a role is missing".to_owned())?;
        sound((1..=own.len()).contains(&self.threshold), || {
            "a role has a threshold that means nothing".to_owned()
        })
    }
}
