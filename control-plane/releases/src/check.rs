//! Whether a folder is fit to be handed out.

use crate::ReleaseError;
use crate::authority::Authority;
use crate::folder::{ReleaseFolder, open_file};
use crate::metadata::{Metadata, Root, Targets};
use crate::rotation::{delegated_keys, offline_keys_of, online_keys};
use crate::shelves::shelf_of;
use crate::signed::SignedMetadata;
use noderr_protocol::release::{Archive, BUILDERS, Builders, ReleaseName};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

/// Where the artefacts are of a folder that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artefacts {
    /// In the folder, where they are checked too.
    InTheFolder,
    /// With whoever checks the metadata.
    Elsewhere,
}

/// The roles of a folder, and who may sign them.
struct Walk {
    /// The newest root, if every root before it is there.
    root: Option<SignedMetadata<Root>>,
    /// The newest of every role that names targets, if those have signed it who may.
    roles: Vec<(String, SignedMetadata<Targets>)>,
    /// Who has not signed what, a sentence each.
    wrong: Vec<String>,
}

impl ReleaseFolder {
    /// What is wrong with what is in force, a sentence each; nothing if all is well.
    pub fn check(&self, now: jiff::Timestamp, artefacts: Artefacts) -> Result<Vec<String>, ReleaseError> {
        let Walk { root, roles, mut wrong } = self.walk()?;
        let Some(root) = root else { return Ok(wrong) };
        ends(&mut wrong, "root", &root, now);
        let builders = roles.iter().find(|(role, _)| role == "targets");
        let builders = builders.and_then(|(_, says)| says.says().targets.get(BUILDERS).cloned());
        // Where there are none, or they cannot be read, that is said of them, and nothing was built by anybody.
        let builders = builders.and_then(|file| self.builders_of(&file).ok()).unwrap_or_default();
        let mut offline: Vec<_> = offline_keys_of(root.says()).cloned().collect();
        for (role, says) in &roles {
            ends(&mut wrong, role, says, now);
            self.check_targets(&mut wrong, role, says, &builders);
            offline.extend(delegated_keys(says.says()).cloned());
            if artefacts == Artefacts::InTheFolder {
                self.check_objects(&mut wrong, says);
            }
        }
        let online = online_keys(root.says());
        if let Some(both) = offline.into_iter().find(|id| online.contains(id)) {
            wrong.push(ReleaseError::OnlineToo(both).to_string());
        }
        Ok(wrong)
    }

    /// What is not signed by those who may, a sentence each. Reads no target: whoever has signed nothing costs no more than that.
    pub fn check_signatures(&self) -> Result<Vec<String>, ReleaseError> {
        Ok(self.walk()?.wrong)
    }

    /// The versions that are signed by those who may, role by role, as far as the signatures go.
    pub fn signed_versions(&self) -> Result<BTreeMap<String, u64>, ReleaseError> {
        let Walk { root, roles, .. } = self.walk()?;
        let roles = roles.into_iter().map(|(role, says)| (role, says.says().version));
        Ok(root.map(|root| ("root".to_owned(), root.says().version)).into_iter().chain(roles).collect())
    }

    fn walk(&self) -> Result<Walk, ReleaseError> {
        let (root, mut wrong) = self.walk_roots()?;
        let mut roles = Vec::new();
        let Some(root) = root else { return Ok(Walk { root: None, roles, wrong }) };
        let mut seen = BTreeSet::from(["targets".to_owned()]);
        let mut waiting = vec![("targets".to_owned(), Authority::of_root(root.says(), "targets")?)];
        while let Some((role, by)) = waiting.pop() {
            let Some(says) = self.newest::<Targets>(&role)? else {
                wrong.push(format!("{role} is not signed by enough keys yet"));
                continue;
            };
            if !by.is_met(&says) {
                // What it says is said by nobody: nothing below it is looked at.
                wrong.push(format!("{role} {} is not signed by enough keys", says.says().version));
                continue;
            }
            for below in says.says().delegations.iter().flat_map(|delegations| &delegations.roles) {
                if !seen.insert(below.name.clone()) {
                    wrong.push(format!("{} is let name targets by two roles", below.name));
                    continue;
                }
                waiting.push((below.name.clone(), Authority::of_delegation(says.says(), &below.name)?));
            }
            roles.push((role, says));
        }
        Ok(Walk { root: Some(root), roles, wrong })
    }

    /// The newest root, if every root before it is there, and which are not signed as they should be.
    fn walk_roots(&self) -> Result<(Option<SignedMetadata<Root>>, Vec<String>), ReleaseError> {
        let mut wrong = Vec::new();
        let newest = self.newest_version("root")?.unwrap_or_default();
        let mut before: Option<SignedMetadata<Root>> = None;
        for version in 1..=newest {
            let Some(root) = self.version::<Root>("root", version)? else {
                wrong.push(format!("root {version} is missing: boxes that know an older one cannot follow"));
                return Ok((None, wrong));
            };
            for by in before.iter().chain([&root]) {
                if !Authority::of_root(by.says(), "root")?.is_met(&root) {
                    wrong.push(format!(
                        "root {version} is not signed by enough keys of root {}",
                        by.says().version
                    ));
                    return Ok((None, wrong));
                }
            }
            before = Some(root);
        }
        if before.is_none() {
            wrong.push("there is no root".to_owned());
        }
        Ok((before, wrong))
    }

    fn check_targets(
        &self,
        wrong: &mut Vec<String>,
        role: &str,
        says: &SignedMetadata<Targets>,
        builders: &Builders,
    ) {
        for (name, target) in &says.says().targets {
            let is_builders = name == BUILDERS;
            let may_name = match name.parse::<ReleaseName>() {
                Ok(release) => shelf_of(&release) == role,
                Err(_) => is_builders && role == "targets",
            };
            if !may_name {
                wrong.push(format!("{role} names {name}, which is not its to name"));
                continue;
            }
            match self.check_named(name, target, builders) {
                Ok(()) => {}
                Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
                    wrong.push(format!("{name}, which {role} names, is missing"));
                }
                Err(error @ ReleaseError::NotBuilt(..)) => wrong.push(format!(
                    "{name}, which {role} names: {error}; withdraw it (`noderrctl release withdraw`), and have that signed"
                )),
                Err(error) => wrong.push(format!("{name}, which {role} names: {error}")),
            }
        }
    }

    fn check_objects(&self, wrong: &mut Vec<String>, says: &SignedMetadata<Targets>) {
        for (name, target) in says.says().targets.iter().filter(|(name, _)| *name != BUILDERS) {
            // Of a manifest that cannot be read, it is said already.
            let Ok(manifest) = self.manifest(name, target) else { continue };
            let checked = self.check_object(&manifest.archive).and_then(|()| self.check_content(&manifest));
            if let Err(error) = checked {
                wrong.push(format!("the archive of {name}: {error}"));
            }
        }
    }

    /// Whether an archive is the one that was signed.
    pub(crate) fn check_object(&self, archive: &Archive) -> Result<(), ReleaseError> {
        check_archive(&self.object(&archive.sha256), archive)
    }
}

/// Whether a file is an archive that was signed.
pub(crate) fn check_archive(path: &Path, archive: &Archive) -> Result<(), ReleaseError> {
    let path = path.to_owned();
    let digest = || {
        let (file, mut digest) = (open_file(&path)?, Sha256::new());
        let length = io::copy(&mut file.take(archive.bytes.saturating_add(1)), &mut digest)?;
        Ok((length, <[u8; 32]>::from(digest.finalize())))
    };
    match digest() {
        Ok((length, found)) if length == archive.bytes && found == archive.sha256.0 => Ok(()),
        Ok(_) => Err(ReleaseError::Unreadable { path, why: "it is not what was signed".to_owned() }),
        Err(why) => Err(ReleaseError::Io { path, why }),
    }
}

fn ends<M: Metadata>(wrong: &mut Vec<String>, role: &str, says: &SignedMetadata<M>, now: jiff::Timestamp) {
    if says.says().expires() <= now {
        wrong.push(format!(
            "{role} {} ended at {}: renew and sign it",
            says.says().version(),
            says.says().expires()
        ));
    }
}
