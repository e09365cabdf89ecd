//! What a release manager prepares for those who sign: a release, its withdrawal, other builders, later ends; and how what was prepared
//! is taken back.

use crate::ReleaseError;
use crate::folder::ReleaseFolder;
use crate::metadata::{Root, Targets};
use crate::shelves::shelf_of;
use crate::signed::SignedMetadata;
use jiff::Timestamp;
use noderr_archive::{Packed, check_artefact};
use noderr_protocol::release::{BUILDERS, Builders, Manifest, ReleaseName, Requirement, Word};
use std::fs::File;
use std::path::Path;

/// A release that is to be added, beside what its artefact says of itself.
pub struct NewRelease {
    /// What it will be called.
    pub name: ReleaseName,
    /// The signature of the builder, as `minisign` writes it.
    pub minisig: String,
    /// Whether a version below the newest is meant.
    pub may_be_older: bool,
    /// For whom it is, and on what terms.
    pub terms: Terms,
}

/// What a release says beside what its artefact says.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The hardware that it runs on; any, if this is empty.
    pub hardware: Vec<Word>,
    /// The tiers that it is meant for; all, if this is empty.
    pub tiers: Vec<Word>,
    /// What must be there.
    pub requires: Vec<Requirement>,
    /// Raised where what was before must never run again.
    pub security_epoch: u32,
}

impl ReleaseFolder {
    /// Packs an artefact, and prepares its release for those who sign.
    pub fn add(&self, artefact: &Path, new: NewRelease) -> Result<Manifest, ReleaseError> {
        let (name, role) = (new.name.to_string(), shelf_of(&new.name));
        let mut says = self.next(&role)?;
        if self.was_named(&role, &name)? {
            return Err(ReleaseError::Released(name));
        }
        if says.targets.contains_key(&name) {
            return Err(ReleaseError::Prepared(name));
        }
        if let Some(newest) = self.newest_of(&new.name)?.filter(|newest| *newest >= new.name.version)
            && !new.may_be_older
        {
            return Err(ReleaseError::GoesBack { release: name, newest: newest.to_string() });
        }
        let io = |why| ReleaseError::Io { path: artefact.to_owned(), why };
        let builders = self.builders()?;
        let Packed { content, archive } = self.pack(artefact)?;
        let source = File::open(artefact).map_err(io)?;
        let mut manifest = Manifest::new(new.name, content, archive, new.minisig);
        check_artefact(source, &manifest, &builders)
            .map_err(|why| ReleaseError::NotTheArtefact { path: artefact.to_owned(), why })?;
        let Terms { hardware, tiers, requires, security_epoch } = new.terms;
        (manifest.hardware, manifest.tiers) = (hardware, tiers);
        (manifest.requires, manifest.security_epoch) = (requires, security_epoch);
        self.check_epoch(&manifest)?;
        let bytes = manifest.to_bytes().map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        says.targets.insert(name.clone(), self.put_target(&name, &bytes)?);
        self.put_draft(&role, &SignedMetadata::new(says))?;
        Ok(manifest)
    }

    /// Prepares the withdrawal of a release.
    pub fn withdraw(&self, release: &ReleaseName) -> Result<(), ReleaseError> {
        let (role, name) = (shelf_of(release), release.to_string());
        let mut says = self.next(&role)?;
        let in_force = self.newest::<Targets>(&role)?;
        let is_in_force = in_force.is_some_and(|in_force| in_force.says().targets.contains_key(&name));
        if says.targets.remove(&name).is_none() {
            return Err(if is_in_force {
                ReleaseError::Withdrawing(name)
            } else {
                ReleaseError::NoRelease(name)
            });
        }
        if !is_in_force {
            return Err(ReleaseError::OnlyPrepared(name));
        }
        self.put_draft(&role, &SignedMetadata::new(says))
    }

    /// Prepares that these may build, and nobody else; returns the releases that none of them has built: boxes hold them no more.
    pub fn set_builders(&self, builders: &Builders) -> Result<Vec<ReleaseName>, ReleaseError> {
        let mut says = self.next("targets")?;
        let bytes =
            serde_json::to_vec(builders).map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        says.targets.insert(BUILDERS.to_owned(), self.put_target(BUILDERS, &bytes)?);
        self.put_draft("targets", &SignedMetadata::new(says))?;
        self.built_by_nobody()
    }

    /// The releases that are or will be named, and that none of those who may build from then on has built.
    pub fn built_by_nobody(&self) -> Result<Vec<ReleaseName>, ReleaseError> {
        let (builders, mut orphans) = (self.builders()?, Vec::new());
        for (release, file) in self.releases()? {
            match self.check_named(&release.to_string(), &file, &builders) {
                Err(ReleaseError::NotBuilt(..)) => orphans.push(release),
                checked => checked?,
            }
        }
        Ok(orphans)
    }

    /// Prepares that everything that is signed offline ends at another time.
    pub fn renew(&self, ends: Timestamp) -> Result<(), ReleaseError> {
        for role in self.offline_roles()? {
            if role == "root" {
                let coming =
                    self.coming::<Root>(&role)?.ok_or_else(|| ReleaseError::Missing(role.clone()))?;
                let version = self.newest_version(&role)?.unwrap_or_default() + 1;
                let mut root = coming.says().clone();
                (root.version, root.expires) = (version, ends);
                self.put_draft(&role, &SignedMetadata::new(root))?;
            } else {
                let mut says = self.next(&role)?;
                says.expires = ends;
                self.put_draft(&role, &SignedMetadata::new(says))?;
            }
        }
        Ok(())
    }

    /// Takes a release back that is prepared and not in force, or a withdrawal.
    pub fn discard_release(&self, release: &ReleaseName) -> Result<(), ReleaseError> {
        let (role, name) = (shelf_of(release), release.to_string());
        let in_force = self.newest::<Targets>(&role)?.map(|targets| targets.says().clone());
        let draft = self.draft::<Targets>(&role)?;
        let mut says = draft.ok_or_else(|| ReleaseError::NoDraft(name.clone()))?.says().clone();
        let prepared = match in_force.as_ref().and_then(|in_force| in_force.targets.get(&name)) {
            Some(out) => says.targets.insert(name.clone(), out.clone()).is_none(),
            None => says.targets.remove(&name).is_some(),
        };
        if !prepared {
            return Err(ReleaseError::NoDraft(name));
        }
        // A draft that says something else besides, such as a later end, stays.
        let says_nothing_new = |mut in_force: Targets| {
            in_force.version = says.version;
            in_force == says
        };
        // Whoever signs may be another from now on, and has to sign what was in force anew.
        if in_force.is_some_and(says_nothing_new) && self.is_signed_by_those_who_come(&role)? {
            return self.discard(&role);
        }
        self.put_draft(&role, &SignedMetadata::new(says))
    }

    /// Deletes the draft of a role, with the signatures that the draft has. What is below may be all that others have waited for: it is
    /// in force with the next signature, and not because something was taken back.
    pub fn discard(&self, role: &str) -> Result<(), ReleaseError> {
        let is_known = self.offline_roles()?.iter().any(|known| known == role);
        if !is_known || self.draft_bytes(role)?.is_none() {
            return Err(ReleaseError::NoDraft(role.to_owned()));
        }
        if self.newest_version(role)?.is_none() {
            return Err(ReleaseError::OnlyVersion(role.to_owned()));
        }
        self.remove_draft(role)
    }
}
