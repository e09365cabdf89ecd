//! Who has yet to sign, by the names of the public halves that lie in the folder where the command runs.

use noderr_releases::{Prepared, Progress, PublicKey, ReleaseFolder, listed};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Names of keys by their ids.
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// The public halves that lie here.
    pub(super) fn here() -> Self {
        let entries = fs::read_dir(".").into_iter().flatten().flatten();
        let mut named: Vec<_> = entries.filter_map(|entry| named(&entry.path())).collect();
        // Of copies, the one with the shortest name gives the name: the last of these is kept.
        named.sort_by_key(|(_, name)| std::cmp::Reverse((name.len(), name.clone())));
        Self(named.into_iter().collect())
    }

    /// The name of a key, or the beginning of its id.
    fn of(&self, id: &str) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| id.chars().take(12).collect())
    }

    /// A sentence with the names of keys beside their ids.
    pub(super) fn in_words(&self, sentence: &str) -> String {
        let named =
            |said: String, (id, name): (&String, &String)| said.replace(id, &format!("{name} ({id})"));
        self.0.iter().fold(sentence.to_owned(), named)
    }

    /// Whose signatures are lacking, in words; nothing if none is.
    pub(super) fn lacking(&self, progress: &Progress) -> String {
        let Progress { signed, needed, waits_for, .. } = progress;
        let names: Vec<_> = waits_for.iter().map(|id| self.of(id)).collect();
        let (names, lack) = (names.join(", "), needed.saturating_sub(*signed));
        match lack {
            0 => String::new(),
            _ if lack == waits_for.len() => names,
            1 => format!("one of {names}"),
            lack => format!("{lack} of {names}"),
        }
    }
}

fn named(file: &Path) -> Option<(String, String)> {
    let found = fs::symlink_metadata(file).ok()?;
    if file.extension()? != "pub" || !found.is_file() || found.len() > 4096 {
        return None;
    }
    let key: PublicKey = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let name = file.file_stem()?.to_str()?;
    let is_plain = name.chars().all(|char| char.is_alphanumeric() || "-_.".contains(char));
    is_plain.then(|| (key.id(), name.to_owned()))
}

/// What still waits for signatures, a sentence for those of the same people.
pub(super) fn waiting(releases: &ReleaseFolder) -> anyhow::Result<Vec<String>> {
    let (names, mut groups) = (Names::here(), Vec::<(String, Vec<String>)>::new());
    for Prepared { progress, .. } in releases.prepared()? {
        let lacking = names.lacking(&progress);
        match groups.iter_mut().find(|(for_whom, _)| *for_whom == lacking) {
            Some((_, roles)) => roles.push(progress.role),
            None => groups.push((lacking, vec![progress.role])),
        }
    }
    let sentence = |(lacking, roles): (String, Vec<String>)| {
        let waits = if roles.len() == 1 { "waits" } else { "wait" };
        let for_whom = if lacking.is_empty() { "the role above" } else { &lacking };
        format!("{} {waits} for {for_whom}", listed(&roles))
    };
    Ok(groups.into_iter().map(sentence).collect())
}
