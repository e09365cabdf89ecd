//! Who has yet to sign, by the names of the public halves that lie in the folder where the command runs.

use noderr_archive::builder_in;
use noderr_releases::{Lack, Prepared, Progress, PublicKey, ReleaseFolder, listed};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Names of keys by their ids, and of builders by their keys.
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

    /// The name of a key, if its public half lies here.
    pub(super) fn known(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
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
        let lacking = |Lack { signatures, of }: &Lack| {
            let names = of.iter().map(|id| self.of(id)).collect::<Vec<_>>().join(", ");
            match signatures {
                all if *all == of.len() => names,
                1 => format!("one of {names}"),
                some => format!("{some} of {names}"),
            }
        };
        progress.lacks.iter().map(lacking).collect::<Vec<_>>().join(" and for ")
    }
}

fn named(file: &Path) -> Option<(String, String)> {
    let found = fs::symlink_metadata(file).ok()?;
    if file.extension()? != "pub" || !found.is_file() || found.len() > 4096 {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    let key =
        serde_json::from_str(&text).ok().map(|key: PublicKey| key.id()).or_else(|| builder_in(&text))?;
    let name = file.file_stem()?.to_str()?;
    let is_plain = name.chars().all(|char| char.is_alphanumeric() || "-_.".contains(char));
    is_plain.then(|| (key, name.to_owned()))
}

/// What is prepared and does not count yet, a sentence for what waits for the same.
pub(super) fn waiting(releases: &ReleaseFolder) -> anyhow::Result<Vec<String>> {
    let (names, mut groups) = (Names::here(), Vec::<(String, Vec<String>)>::new());
    for Prepared { progress, .. } in releases.prepared()? {
        let lacking = match names.lacking(&progress) {
            _ if progress.is_stale => "for nothing: it no longer follows what is in force, and `noderrctl release discard` takes it back".to_owned(),
            signed if signed.is_empty() && progress.waits_for_above => "for the role above alone".to_owned(),
            signed if signed.is_empty() => {
                "for nobody, and will count with whatever is signed next".to_owned()
            }
            names => format!("for {names}"),
        };
        match groups.iter_mut().find(|(for_whom, _)| *for_whom == lacking) {
            Some((_, roles)) => roles.push(progress.role),
            None => groups.push((lacking, vec![progress.role])),
        }
    }
    let sentence = |(lacking, roles): (String, Vec<String>)| {
        let waits = if roles.len() == 1 { "waits" } else { "wait" };
        format!("{} {waits} {lacking}", listed(&roles))
    };
    Ok(groups.into_iter().map(sentence).collect())
}
