//! Whether a folder is fit to be handed out.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::folder::ReleaseFolder;
use crate::metadata::{Metadata, Root, Targets};
use crate::signing::Authority;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read as _};

impl ReleaseFolder {
    /// What is wrong with what is published, a sentence each; nothing if all is well.
    pub fn check(&self, now: jiff::Timestamp) -> Result<Vec<String>, ReleaseError> {
        let mut wrong = Vec::new();
        let newest = self.newest_version("root")?.unwrap_or_default();
        let mut before: Option<Draft<Root>> = None;
        for version in 1..=newest {
            let Some(root) = self.published::<Root>("root", version)? else {
                wrong.push(format!("root {version} is missing: boxes that know an older one cannot follow"));
                return Ok(wrong);
            };
            for by in before.iter().chain([&root]) {
                if !Authority::of_root(by.says(), "root")?.is_met(&root) {
                    wrong.push(format!(
                        "root {version} is not signed by enough keys of root {}",
                        by.says().version
                    ));
                }
            }
            before = Some(root);
        }
        let Some(root) = before else { return Ok(vec!["there is no root".to_owned()]) };
        ends(&mut wrong, "root", &root, now);
        let Some(targets) = self.newest::<Targets>("targets")? else {
            wrong.push("there are no targets".to_owned());
            return Ok(wrong);
        };
        self.check_targets(
            &mut wrong,
            "targets",
            &targets,
            &Authority::of_root(root.says(), "targets")?,
            now,
        )?;
        for role in targets.says().delegations.iter().flat_map(|delegations| &delegations.roles) {
            match self.newest::<Targets>(&role.name)? {
                Some(says) => {
                    let by = Authority::of_delegation(targets.says(), &role.name)?;
                    self.check_targets(&mut wrong, &role.name, &says, &by, now)?;
                }
                None => wrong.push(format!("{} is not published", role.name)),
            }
        }
        Ok(wrong)
    }

    fn check_targets(
        &self,
        wrong: &mut Vec<String>,
        role: &str,
        says: &Draft<Targets>,
        by: &Authority,
        now: jiff::Timestamp,
    ) -> Result<(), ReleaseError> {
        if !by.is_met(says) {
            wrong.push(format!("{role} {} is not signed by enough keys", says.says().version));
        }
        ends(wrong, role, says, now);
        for (name, target) in &says.says().targets {
            let hash = target.hashes.get("sha256").map_or("", String::as_str);
            let path = self.place_of(name, hash);
            let digest = || {
                if !fs::symlink_metadata(&path)?.is_file() {
                    return Err(io::Error::other("it is no file"));
                }
                let (file, mut digest) = (File::open(&path)?, Sha256::new());
                let length = io::copy(&mut file.take(target.length.saturating_add(1)), &mut digest)?;
                Ok::<_, io::Error>((length, hex::encode(digest.finalize())))
            };
            match digest() {
                Ok((length, found)) if length == target.length && found == hash => {}
                Ok(_) => wrong.push(format!("{} is not what was signed as {name}", path.display())),
                Err(error) => {
                    wrong.push(format!("{}, which {role} names, cannot be read: {error}", path.display()))
                }
            }
        }
        Ok(())
    }
}

fn ends<M: Metadata>(wrong: &mut Vec<String>, role: &str, says: &Draft<M>, now: jiff::Timestamp) {
    if says.says().expires() <= now {
        wrong.push(format!(
            "{role} {} ended at {}: renew and sign it",
            says.says().version(),
            says.says().expires()
        ));
    }
}
