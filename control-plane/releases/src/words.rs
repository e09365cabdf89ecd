//! What a draft changes, in plain words, for whoever is about to sign it.

use crate::draft::Draft;
use crate::metadata::{RoleKeys, Root, TargetFile, Targets};
use std::collections::BTreeMap;

/// What a root changes against the one before, a sentence each.
pub(crate) fn changes_of_root(before: Option<Draft<Root>>, draft: &Draft<Root>) -> Vec<String> {
    let before = before.map(|before| before.says().roles.clone()).unwrap_or_default();
    of_roles(&before, &draft.says().roles)
}

/// What a role that names targets changes against the version before, a sentence each.
pub(crate) fn changes_of_targets(before: Option<Draft<Targets>>, draft: &Draft<Targets>) -> Vec<String> {
    of_targets(before.as_ref().map(Draft::says), draft.says())
}

fn of_roles(before: &BTreeMap<String, RoleKeys>, after: &BTreeMap<String, RoleKeys>) -> Vec<String> {
    let mut said = Vec::new();
    for (role, keys) in after {
        let had = before.get(role);
        let of = keys.keyids.len();
        match had {
            Some(had) if had.threshold == keys.threshold && had.keyids.len() == of => {}
            _ => said.push(format!("{role} takes {} of {of} keys", keys.threshold)),
        }
        let is_new = |id: &&String| had.is_none_or(|had| !had.keyids.contains(id));
        said.extend(keys.keyids.iter().filter(is_new).map(|id| format!("{} may sign {role}", short(id))));
        let gone = had.into_iter().flat_map(|had| &had.keyids).filter(|id| !keys.keyids.contains(id));
        said.extend(gone.map(|id| format!("{} may sign {role} no more", short(id))));
    }
    let gone = before.keys().filter(|role| !after.contains_key(*role));
    said.extend(gone.map(|role| format!("{role} is gone")));
    said
}

fn of_targets(before: Option<&Targets>, after: &Targets) -> Vec<String> {
    let roles = |targets: Option<&Targets>| {
        let delegations = targets.and_then(|targets| targets.delegations.as_ref());
        let roles = delegations.into_iter().flat_map(|delegations| &delegations.roles);
        roles.map(|role| (role.name.clone(), role.keys.clone())).collect::<BTreeMap<_, _>>()
    };
    let mut said = of_roles(&roles(before), &roles(Some(after)));
    for role in after.delegations.iter().flat_map(|delegations| &delegations.roles) {
        let had = before.and_then(|before| before.delegations.as_ref());
        let had = had.and_then(|had| had.roles.iter().find(|had| had.name == role.name));
        if had.is_none_or(|had| had.paths != role.paths) {
            said.push(format!("{} may name {}", role.name, role.paths.join(", ")));
        }
    }
    let none = BTreeMap::new();
    let had = before.map_or(&none, |before| &before.targets);
    for (name, target) in &after.targets {
        match had.get(name) {
            None => said.push(format!("adds {name}: {}", described(target))),
            Some(before) if before != target => {
                said.push(format!("CHANGES {name}: {} instead of {}", described(target), described(before)));
            }
            Some(_) => {}
        }
    }
    said.extend(
        had.keys().filter(|name| !after.targets.contains_key(*name)).map(|name| format!("withdraws {name}")),
    );
    said
}

fn described(target: &TargetFile) -> String {
    let hash = target.hashes.get("sha256").map_or("no hash", String::as_str);
    format!("{} bytes, sha256 {hash}", target.length)
}

/// Enough of an id to tell keys apart.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
