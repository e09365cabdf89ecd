//! What a draft says, in plain words, for whoever is about to sign it: all of it, and what of it is new.

use crate::ReleaseError;
use crate::metadata::{RoleKeys, Root, TargetFile, Targets};
use crate::signed::SignedMetadata;
use noderr_protocol::release::{BUILDERS, Manifest, Word};
use std::collections::BTreeMap;
use std::fmt;

/// A sentence of what a draft says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence.
    pub words: String,
    /// Whether what is in force says so too. That is shown as well: what the draft is compared with is no better than the folder.
    pub as_before: bool,
}

impl Sentence {
    fn new(words: String) -> Self {
        Self { words, as_before: false }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.as_before { "as before: " } else { "" })?;
        f.write_str(&self.words)
    }
}

/// What a root says, a sentence each, marked where the one before says so too.
pub(crate) fn changes_of_root(
    before: Option<SignedMetadata<Root>>,
    draft: &SignedMetadata<Root>,
) -> Vec<Sentence> {
    let before = before.map(|before| before.says().roles.clone()).unwrap_or_default();
    of_roles(&before, &draft.says().roles)
}

/// What a role that names targets says, likewise; what a release is, `describe` says, and who may build, `builders`.
pub(crate) fn changes_of_targets(
    before: Option<SignedMetadata<Targets>>,
    draft: &SignedMetadata<Targets>,
    describe: impl Fn(&str, &TargetFile) -> String,
    builders: impl Fn(&TargetFile) -> Result<Vec<String>, ReleaseError>,
) -> Vec<Sentence> {
    let (before, after) = (before.as_ref().map(SignedMetadata::says), draft.says());
    let mut said = of_delegations(before, after);
    let none = BTreeMap::new();
    let had = before.map_or(&none, |before| &before.targets);
    said.extend(of_builders(had.get(BUILDERS), after.targets.get(BUILDERS), builders));
    said.extend(of_releases(had, &after.targets, describe));
    said
}

/// In place of what cannot be shown.
pub(crate) fn unseen(error: ReleaseError) -> String {
    format!("WHAT IT IS CANNOT BE SEEN: {error}")
}

fn of_builders(
    before: Option<&TargetFile>,
    after: Option<&TargetFile>,
    builders: impl Fn(&TargetFile) -> Result<Vec<String>, ReleaseError>,
) -> Vec<Sentence> {
    let had = before.and_then(|before| builders(before).ok()).unwrap_or_default();
    let has = match after.map(builders).transpose() {
        Ok(has) => has.unwrap_or_default(),
        Err(error) => return vec![Sentence::new(format!("builders: {}", unseen(error)))],
    };
    let gone = had.iter().filter(|key| !has.contains(key));
    let gone = gone.map(|key| Sentence::new(format!("{key} may build artefacts no more")));
    let may = has
        .iter()
        .map(|key| Sentence { as_before: had.contains(key), words: format!("{key} may build artefacts") });
    may.chain(gone).collect()
}

fn of_roles(before: &BTreeMap<String, RoleKeys>, after: &BTreeMap<String, RoleKeys>) -> Vec<Sentence> {
    let mut said = Vec::new();
    // Shelves have the same keys, and are named together.
    let mut groups: Vec<(Vec<String>, &RoleKeys, Option<&RoleKeys>)> = Vec::new();
    for (role, keys) in after {
        let had = before.get(role);
        match groups.iter_mut().find(|(_, same, same_had)| *same == keys && *same_had == had) {
            Some((roles, ..)) => roles.push(role.clone()),
            None => groups.push((vec![role.clone()], keys, had)),
        }
    }
    for (roles, keys, had) in groups {
        let (role, of) = (listed(&roles), keys.keyids.len());
        let as_before = had.is_some_and(|had| had.threshold == keys.threshold && had.keyids.len() == of);
        let takes = if roles.len() == 1 { "takes" } else { "take" };
        said.push(Sentence { as_before, words: format!("{role} {takes} {} of {of} keys", keys.threshold) });
        for id in &keys.keyids {
            let as_before = had.is_some_and(|had| had.keyids.contains(id));
            said.push(Sentence { as_before, words: format!("{id} may sign {role}") });
        }
        let gone = had.into_iter().flat_map(|had| &had.keyids).filter(|id| !keys.keyids.contains(id));
        said.extend(gone.map(|id| Sentence::new(format!("{id} may sign {role} no more"))));
    }
    let gone = before.keys().filter(|role| !after.contains_key(*role));
    said.extend(gone.map(|role| Sentence::new(format!("{role} is gone"))));
    said
}

fn of_delegations(before: Option<&Targets>, after: &Targets) -> Vec<Sentence> {
    let roles = |targets: Option<&Targets>| {
        let delegations = targets.and_then(|targets| targets.delegations.as_ref());
        let roles = delegations.into_iter().flat_map(|delegations| &delegations.roles);
        roles.map(|role| (role.name.clone(), role.keys.clone())).collect::<BTreeMap<_, _>>()
    };
    let mut said = of_roles(&roles(before), &roles(Some(after)));
    for role in after.delegations.iter().flat_map(|delegations| &delegations.roles) {
        let had = before.and_then(|before| before.delegations.as_ref());
        let had = had.and_then(|had| had.roles.iter().find(|had| had.name == role.name));
        let as_before = had
            .is_some_and(|had| had.paths == role.paths && had.path_hash_prefixes == role.path_hash_prefixes);
        let names = match &role.paths[..] {
            [] => format!("names whose hash begins with {}", role.path_hash_prefixes.join(", ")),
            paths => paths.join(", "),
        };
        said.push(Sentence { as_before, words: format!("{} may name {names}", role.name) });
    }
    said
}

fn of_releases(
    had: &BTreeMap<String, TargetFile>,
    has: &BTreeMap<String, TargetFile>,
    describe: impl Fn(&str, &TargetFile) -> String,
) -> Vec<Sentence> {
    let mut said = Vec::new();
    for (name, target) in has.iter().filter(|(name, _)| *name != BUILDERS) {
        said.push(match had.get(name) {
            None => Sentence::new(format!("adds {name}: {}", describe(name, target))),
            Some(before) if before != target => Sentence::new(format!(
                "CHANGES {name}: {} instead of {}",
                describe(name, target),
                describe(name, before)
            )),
            Some(_) => Sentence { as_before: true, words: format!("{name}: {}", describe(name, target)) },
        });
    }
    let gone = had.keys().filter(|name| !has.contains_key(*name) && *name != BUILDERS);
    said.extend(gone.map(|name| Sentence::new(format!("withdraws {name}"))));
    said
}

/// What a release is, in plain words.
pub(crate) fn described(manifest: &Manifest) -> String {
    let Manifest { content, archive, hardware, tiers, requires, security_epoch, .. } = manifest;
    let mut said = vec![
        format!("{} bytes", content.bytes),
        format!("{} on the way", archive.bytes),
        format!("sha256 {}", hex::encode(content.sha256.0)),
        format!("for {}", alternatives(hardware, "any hardware")),
        format!("for {}", alternatives(tiers, "all tiers")),
    ];
    said.extend(requires.iter().map(|one| format!("requires {} {} or later", one.series, one.at_least)));
    if *security_epoch > 0 {
        said.push(format!("security epoch {security_epoch}"));
    }
    said.join(", ")
}

fn alternatives(words: &[Word], otherwise: &str) -> String {
    let words: Vec<_> = words.iter().map(Word::as_str).collect();
    if words.is_empty() { otherwise.to_owned() } else { words.join(" or ") }
}

/// Roles in a few words: shelves that follow one another are named by the first and the last.
pub fn listed(roles: &[String]) -> String {
    let shelf = |role: &str| {
        let (kind, number) = role.rsplit_once('-')?;
        Some((kind.to_owned(), number.parse::<u32>().ok()?))
    };
    let mut said: Vec<(String, String)> = Vec::new();
    for role in roles {
        if let Some((_, last)) = said.last_mut()
            && let (Some((kind, before)), Some((same, number))) = (shelf(last), shelf(role))
            && kind == same
            && number == before + 1
        {
            role.clone_into(last);
            continue;
        }
        said.push((role.clone(), role.clone()));
    }
    let one =
        |(first, last): (String, String)| if first == last { first } else { format!("{first} to {last}") };
    said.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelves_that_follow_one_another_are_named_by_the_first_and_the_last() {
        let roles = ["root", "os-0", "os-1", "os-2", "os-4", "models-5", "models-6"].map(str::to_owned);
        assert_eq!(listed(&roles), "root, os-0 to os-2, os-4, models-5 to models-6");
    }
}
