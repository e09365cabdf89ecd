//! What the release keys say of a release, held against this box: whether the release is to be taken, and whether it is here already.

use crate::epochs::Epochs;
use crate::folders::store_in;
use crate::known::Known;
use crate::places::in_background;
use crate::policy::{ThisBox, fits, lacks, meets};
use crate::setback::Setback;
use crate::settings::{Clock, Settings};
use crate::store::{ManifestFile, Store, StoreError};
use crate::trust::{Limits, Refusal, Target, Trust, TrustError};
use noderr_archive::check_builder;
use noderr_part::Folder;
use noderr_protocol::release::{
    BUILDERS, Builders, MAX_MANIFEST, Manifest, ReleaseName, ReleaseRefusal, Requirement,
};
use std::sync::Arc;
use std::time::SystemTime;

/// The targets that a box reads are manifests, and who may build.
pub(crate) const LIMITS: Limits = Limits { target_bytes: MAX_MANIFEST as u64 };

/// Who knows what is signed, and what is here.
pub(crate) struct Judge {
    this: ThisBox,
    trust: Trust,
    store: Store,
    epochs: Epochs,
    clock: Clock,
    /// Who may build, read and as it was signed.
    builders: (Builders, Vec<u8>),
    known: Known,
}

/// What is found of a release that may be taken.
pub(crate) enum Verdict {
    /// All of it is here, whole.
    Held,
    /// It is to be brought.
    Lacking(Box<(Target, ManifestFile)>),
}

fn malformed(why: String) -> Setback {
    Setback::refused(ReleaseRefusal::Malformed, why)
}

impl Judge {
    pub(crate) async fn new(
        data: Arc<Folder>,
        settings: &Settings,
        trust: Trust,
        clock: Clock,
        known: Known,
    ) -> Result<Self, Setback> {
        let store = store_in(&data, settings.store);
        let epochs = Epochs::open(data);
        let builders = (Builders::default(), Vec::new());
        Ok(Self { this: settings.this.clone(), trust, store, epochs, clock, builders, known })
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) const fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) const fn builders(&self) -> &Builders {
        &self.builders.0
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Whether the newest metadata was there when it was asked for last.
    pub(crate) const fn is_refreshed(&self) -> bool {
        self.trust.is_refreshed()
    }

    /// Asks for the newest metadata, and who may build.
    pub(crate) async fn ask(&mut self) -> Result<(), Setback> {
        self.trust.refresh(self.now()).await?;
        let builders = self.trust.target(BUILDERS, self.now()).await?;
        let bytes = self.trust.read(&builders).await?;
        let unreadable =
            |error: serde_json::Error| malformed(format!("the builders cannot be read: {error}"));
        let mut may_build: Builders = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if let Some(newest) = self.trust.heard_of_builders(&bytes)? {
            let newest: Builders = serde_json::from_slice(&newest).map_err(unreadable)?;
            // Who was taken away since stays away.
            may_build.keys.retain(|key| newest.keys.contains(key));
        }
        self.builders = (may_build, bytes);
        Ok(())
    }

    /// Whether whoever vouches for the metadata vouches for this beacon too.
    pub(crate) fn names_beacon(&self, bytes: &[u8]) -> bool {
        self.trust.names_beacon(bytes)
    }

    /// Learns what the metadata says of all that is wanted, and keeps it: the box goes by it while nobody can be asked. Returns whether
    /// all of it is kept: what could not be learned is said again when the release is looked at, and until then the word before
    /// stands.
    pub(crate) async fn learn(&mut self, wanted: &[ReleaseName]) -> Result<bool, Setback> {
        for release in wanted {
            match self.target(release).await {
                Ok(_) | Err(TrustError::Refused { why: Refusal::NotNamed | Refusal::Expired, .. }) => {}
                Err(error) => {
                    tracing::debug!(%error, %release, "nothing new is kept for times without a network");
                    return Ok(false);
                }
            }
        }
        // What is here and of a kind that nobody wishes for may be required.
        let is_wished = |release: &ReleaseName| wanted.iter().any(|wanted| wanted.series == release.series);
        let stored = self.store.stored().into_iter().map(|stored| stored.release().clone());
        for release in stored.filter(|release| !is_wished(release)).collect::<Vec<_>>() {
            if let Err(error) = self.target(&release).await {
                tracing::debug!(%error, %release, "what is said of it is not kept for times without a network");
            }
        }
        Ok(self.trust.keep_last_word(&self.builders.1)?)
    }

    /// What the metadata names as a release.
    pub(crate) async fn target(&mut self, release: &ReleaseName) -> Result<Target, TrustError> {
        self.trust.target(&release.to_string(), self.now()).await
    }

    /// Finds out what a release is, whether it is for this box, and whether it is here already.
    pub(crate) async fn judge(&mut self, release: &ReleaseName) -> Result<Verdict, Setback> {
        let (target, signed) = self.named(release).await?;
        fits(&signed.manifest, &self.this)?;
        self.meets_requirements(&signed).await?;
        self.hear_of_epochs(&signed.manifest).await?;
        self.epochs.allow(&signed.manifest)?;
        if let Some(wrong) = self.known.wrong(&signed.key(), self.builders()) {
            return Err(wrong);
        }
        if self.is_here(&signed).await? {
            self.epochs.raise(&signed.manifest).await?;
            return Ok(Verdict::Held);
        }
        Ok(Verdict::Lacking(Box::new((target, signed))))
    }

    /// What the metadata says that a release is, built by one who may.
    async fn named(&mut self, release: &ReleaseName) -> Result<(Target, ManifestFile), Setback> {
        let target = self.target(release).await?;
        let bytes = self.trust.read(&target).await?;
        let signed =
            ManifestFile::read(bytes).map_err(|error| malformed(format!("its manifest: {error}")))?;
        if signed.manifest.release != *release {
            return Err(malformed(format!("its manifest: it is of {}", signed.manifest.release)));
        }
        check_builder(&signed.manifest, self.builders()).map_err(StoreError::from)?;
        Ok((target, signed))
    }

    /// Whether all of it lies in the store, whole.
    async fn is_here(&self, signed: &ManifestFile) -> Result<bool, Setback> {
        let key = signed.key();
        let Some(stored) = self.store.stored().into_iter().find(|stored| stored.says.key() == key) else {
            return Ok(false);
        };
        let (known, builders) = (self.known.clone(), self.builders().clone());
        in_background(move || Ok(known.check(&stored, &builders))).await
    }

    /// Notes the epochs of what lies here of the same series and is named: it may have come a moment before a power cut, or what was
    /// noted may be lost. What nobody names was put there by somebody else.
    async fn hear_of_epochs(&mut self, manifest: &Manifest) -> Result<(), Setback> {
        let (series, epoch) = (&manifest.release.series, manifest.security_epoch);
        let stored = self.store.stored().into_iter().map(|stored| stored.says);
        let greater = |stored: &ManifestFile| {
            stored.manifest.release.series == *series && stored.manifest.security_epoch > epoch
        };
        for stored in stored.filter(greater).collect::<Vec<_>>() {
            if let Ok((_, named)) = self.named(&stored.manifest.release).await
                && named.key() == stored.key()
            {
                self.epochs.raise(&named.manifest).await?;
            }
        }
        Ok(())
    }

    /// Refuses what requires a release that is not held. What lies in the store is held if the metadata says so too.
    async fn meets_requirements(&mut self, signed: &ManifestFile) -> Result<(), Setback> {
        for one in &signed.manifest.requires {
            // One is enough, whatever became of the others.
            let mut otherwise = lacks(&signed.manifest, one);
            let mut is_met = false;
            for name in self.stored_that_meet(one) {
                match self.named(&name).await {
                    Ok((_, required)) if self.is_here(&required).await? => {
                        is_met = true;
                        break;
                    }
                    Ok(_) | Err(Setback::Refused { .. }) => {}
                    Err(passing) => otherwise = passing,
                }
            }
            if !is_met {
                return Err(otherwise);
            }
        }
        Ok(())
    }

    /// The names of what lies in the store and would meet a requirement.
    fn stored_that_meet(&self, requirement: &Requirement) -> Vec<ReleaseName> {
        let stored = self.store.stored().into_iter().map(|stored| stored.release().clone());
        stored.filter(|name| meets(requirement, name)).collect()
    }

    /// Notes that a release is here, whole.
    pub(crate) async fn note_held(&mut self, key: String, manifest: &Manifest) -> Result<(), Setback> {
        self.known.note_whole(key, self.builders.0.clone());
        self.epochs.raise(manifest).await
    }

    /// Notes that what has come of a release is wrong: it would come again, and be as wrong again.
    pub(crate) fn note_wrong(&self, key: String, wrong: Setback) {
        self.known.note_wrong(key, self.builders.0.clone(), wrong);
    }
}
