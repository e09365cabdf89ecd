//! What the folder names: every release that is out or prepared, and those that ever were.

use crate::ReleaseError;
use crate::digest::sha256;
use crate::folder::ReleaseFolder;
use crate::key::PublicKey;
use crate::metadata::{Root, TargetFile, Targets};
use crate::signed::SignedMetadata;
use noderr_protocol::release::{Manifest, ReleaseName};
use std::collections::BTreeMap;
use std::io;

impl ReleaseFolder {
    /// Whether a role has ever named a target: what was withdrawn does not come back as something else.
    pub(crate) fn was_named(&self, role: &str, name: &str) -> Result<bool, ReleaseError> {
        for version in self.versions(role)? {
            let found = self.version::<Targets>(role, version)?;
            if found.is_some_and(|found| found.says().targets.contains_key(name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next version of a role that names targets, without signatures: its draft, or one that begins with what is
    /// in force.
    pub fn next(&self, role: &str) -> Result<Targets, ReleaseError> {
        let coming = self.coming::<Targets>(role)?.ok_or_else(|| ReleaseError::Missing(role.to_owned()))?;
        let mut says = coming.says().clone();
        says.version = self.newest_version(role)?.unwrap_or_default() + 1;
        Ok(says)
    }

    /// Every key that signs or will sign anything.
    pub fn keys(&self) -> Result<Vec<PublicKey>, ReleaseError> {
        let mut keys = BTreeMap::new();
        keys.extend(self.coming::<Root>("root")?.map(|root| root.says().keys.clone()).unwrap_or_default());
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let delegations = self.coming::<Targets>(&role)?.and_then(|says| says.says().delegations.clone());
            keys.extend(delegations.map(|delegations| delegations.keys).unwrap_or_default());
        }
        Ok(keys.into_values().collect())
    }

    /// Every release that is or will be named, with its target.
    pub fn releases(&self) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        self.named(|role| self.coming(role))
    }

    /// Every release that is named by what is in force.
    pub fn signed_releases(&self) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        self.named(|role| self.newest(role))
    }

    /// Every target that is named by what is in force, also those that are no releases.
    pub fn named_targets(&self) -> Result<Vec<(String, TargetFile)>, ReleaseError> {
        let mut all = Vec::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let Some(targets) = self.newest::<Targets>(&role)? else { continue };
            all.extend(targets.says().targets.clone());
        }
        Ok(all)
    }

    fn named(
        &self,
        says: impl Fn(&str) -> Result<Option<SignedMetadata<Targets>>, ReleaseError>,
    ) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        let mut all = Vec::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let Some(targets) = says(&role)? else { continue };
            let named = targets.says().targets.iter();
            all.extend(named.filter_map(|(name, file)| Some((name.parse().ok()?, file.clone()))));
        }
        all.sort_by_key(|(name, _): &(ReleaseName, _)| (name.series.to_string(), name.version.clone()));
        Ok(all)
    }

    /// The SHA-256 of the network's first root, by which people tell networks apart.
    pub fn first_root(&self) -> Result<String, ReleaseError> {
        let first = self.bytes("root", 1)?;
        Ok(sha256(&first.ok_or_else(|| ReleaseError::Missing("root".to_owned()))?))
    }

    /// The SHA-256 of what the first root says, whoever has signed it so far.
    pub fn begins_with(&self) -> Result<Option<String>, ReleaseError> {
        let first = match self.version::<Root>("root", 1)? {
            Some(first) => Some(first),
            None => self.draft("root")?,
        };
        first.map(|first| Ok(sha256(&first.canonical()?))).transpose()
    }

    /// The newest version of the same kind and name.
    pub(crate) fn newest_of(&self, release: &ReleaseName) -> Result<Option<semver::Version>, ReleaseError> {
        let same = self.releases()?.into_iter().filter(|(name, _)| name.series == release.series);
        Ok(same.map(|(name, _)| name.version).max())
    }

    /// Boxes that hold what has a greater epoch would not take it.
    pub(crate) fn check_epoch(&self, manifest: &Manifest) -> Result<(), ReleaseError> {
        let (this, epoch) = (&manifest.release, manifest.security_epoch);
        for other in self.ever_named(this)? {
            let (is_older, before) = (other.release.version < this.version, other.security_epoch);
            if (is_older && before > epoch) || (!is_older && before < epoch) {
                let before = format!("{} has {before}", other.release);
                return Err(ReleaseError::Epoch { release: this.to_string(), epoch, before });
            }
        }
        Ok(())
    }

    /// The manifests of all releases of a name that were ever in force or are prepared: boxes may hold those that are withdrawn.
    fn ever_named(&self, release: &ReleaseName) -> Result<Vec<Manifest>, ReleaseError> {
        let mut named: BTreeMap<String, TargetFile> = BTreeMap::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let drafts = self.draft::<Targets>(&role)?.into_iter();
            let mut all: Vec<_> = drafts.collect();
            for version in self.versions(&role)? {
                all.extend(self.version::<Targets>(&role, version)?);
            }
            for says in all {
                named.extend(says.says().targets.clone());
            }
        }
        let is_of_series =
            |name: &str| name.parse::<ReleaseName>().is_ok_and(|other| other.series == release.series);
        let of_series = named.iter().filter(|(name, _)| is_of_series(name));
        // What was withdrawn long ago may not be in this copy of the folder any more.
        let manifests = of_series.map(|(name, target)| match self.manifest(name, target) {
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            manifest => manifest.map(Some),
        });
        manifests.filter_map(Result::transpose).collect()
    }
}
