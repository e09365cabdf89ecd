//! Drafts on their way through several hands: who must sign what, who has, and what is signed by enough.

use crate::ReleaseError;
use crate::authority::{Authority, Lack};
use crate::folder::ReleaseFolder;
use crate::key::{PublicKey, ReleaseKey};
use crate::metadata::{Metadata, Root, TargetFile, Targets};
use crate::signed::SignedMetadata;
use crate::words::{Sentence, changes_of_root, changes_of_targets};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;

/// How far a draft is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The role.
    pub role: String,
    /// The version that the draft will be.
    pub version: u64,
    /// When it will end.
    pub expires: jiff::Timestamp,
    /// How many of those who must sign have.
    pub signed: usize,
    /// How many must.
    pub needed: usize,
    /// Whose signatures are lacking: of a root, those who sign today, and those who sign from then on, where they are others.
    pub lacks: Vec<Lack>,
    /// Whether a role above is prepared too, without which this one does not count.
    pub waits_for_above: bool,
    /// Whether it no longer follows what is in force, and never counts.
    pub is_stale: bool,
}

/// A draft as it was read once: what is shown of it is what is signed, whoever changes the file meanwhile.
pub struct Prepared {
    /// How far it is.
    pub progress: Progress,
    /// What it says, and what of that is new.
    pub says: Vec<Sentence>,
    draft: Any,
}

impl Prepared {
    fn is_signed_by(&self, key: &PublicKey) -> bool {
        match &self.draft {
            Any::Root(draft) => draft.is_signed_by(key),
            Any::Targets(draft) => draft.is_signed_by(key),
        }
    }
}

/// A draft of one of the two shapes.
enum Any {
    Root(SignedMetadata<Root>),
    Targets(SignedMetadata<Targets>),
}

impl ReleaseFolder {
    /// The roles that are signed offline, those above first.
    pub fn offline_roles(&self) -> Result<Vec<String>, ReleaseError> {
        let mut roles = vec!["root".to_owned(), "targets".to_owned()];
        let mut looked_at = 1;
        while let Some(role) = roles.get(looked_at) {
            let below = self.delegated(role)?.into_iter().filter(|name| !roles.contains(name));
            let below: Vec<_> = below.collect();
            roles.extend(below);
            looked_at += 1;
        }
        Ok(roles)
    }

    /// The roles that a role will let name targets.
    fn delegated(&self, role: &str) -> Result<Vec<String>, ReleaseError> {
        let targets: Option<SignedMetadata<Targets>> = self.coming(role)?;
        let delegations = targets.and_then(|targets| targets.says().delegations.clone());
        let roles = delegations.into_iter().flat_map(|delegations| delegations.roles);
        Ok(roles.map(|role| role.name).collect())
    }

    /// The role that says who signs this one.
    fn above(&self, role: &str) -> Result<String, ReleaseError> {
        if role == "targets" {
            return Ok("root".to_owned());
        }
        for above in self.offline_roles()?.into_iter().filter(|above| above != "root") {
            if self.delegated(&above)?.iter().any(|name| name == role) {
                return Ok(above);
            }
        }
        Err(ReleaseError::Missing(role.to_owned()))
    }

    /// Whether a role waits for one above it.
    fn waits_for_above(&self, role: &str) -> Result<bool, ReleaseError> {
        let mut role = role.to_owned();
        while role != "root" {
            role = self.above(&role)?;
            if self.draft_bytes(&role)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a role will say: its draft, or else what is in force.
    pub fn coming<M: Metadata>(&self, role: &str) -> Result<Option<SignedMetadata<M>>, ReleaseError> {
        match self.draft(role)? {
            Some(draft) => Ok(Some(draft)),
            None => self.newest(role),
        }
    }

    /// Every draft, those above first.
    pub fn prepared(&self) -> Result<Vec<Prepared>, ReleaseError> {
        let mut all = Vec::new();
        for role in self.offline_roles()? {
            let draft = match role.as_str() {
                "root" => self.draft(&role)?.map(Any::Root),
                _ => self.draft(&role)?.map(Any::Targets),
            };
            let Some(draft) = draft else { continue };
            // A power cut came before the draft was removed.
            if self.is_in_force(&role)? {
                continue;
            }
            let (progress, says) = match &draft {
                Any::Root(draft) => {
                    (self.progress(&role, draft)?, changes_of_root(self.newest(&role)?, draft))
                }
                Any::Targets(draft) => {
                    let describe = |name: &str, file: &TargetFile| self.described(name, file);
                    let builders = |file: &TargetFile| Ok(self.builders_of(file)?.keys);
                    let before = self.newest(&role)?;
                    (self.progress(&role, draft)?, changes_of_targets(before, draft, describe, builders))
                }
            };
            all.push(Prepared { progress, says, draft });
        }
        Ok(all)
    }

    fn progress<M: Metadata>(&self, role: &str, draft: &SignedMetadata<M>) -> Result<Progress, ReleaseError> {
        // A root is signed by those who may today and by those who may from then on; most hands are both.
        let authorities = self.authorities(role)?;
        let lacking = |authority: &&Authority| authority.lack(draft).map(|lack| lack.signatures);
        let last = authorities.iter().max_by_key(lacking);
        let (signed, needed) =
            last.map_or((0, 0), |authority| (authority.signed(draft), authority.threshold()));
        let mut lacks: Vec<_> = authorities.iter().filter_map(|authority| authority.lack(draft)).collect();
        lacks.dedup();
        let (version, expires) = (draft.says().version(), draft.says().expires());
        let (waits_for_above, is_stale) = (self.waits_for_above(role)?, version != self.follows(role)?);
        Ok(Progress {
            role: role.to_owned(),
            version,
            expires,
            signed,
            needed,
            lacks,
            waits_for_above,
            is_stale,
        })
    }

    /// The drafts that this key may sign, and has not.
    pub fn prepared_for(&self, key: &PublicKey) -> Result<Vec<Prepared>, ReleaseError> {
        let mut may_sign = Vec::new();
        for prepared in self.prepared()? {
            let may = |authority: &Authority| authority.has(key);
            let Progress { role, version, .. } = &prepared.progress;
            if self.authorities(role)?.iter().any(may) && !prepared.is_signed_by(key) {
                self.check_version(role, *version)?;
                may_sign.push(prepared);
            }
        }
        Ok(may_sign)
    }

    /// Signs drafts that say what they said when they were read, and puts in force what has enough signatures then; returns those roles.
    pub fn sign(&self, prepared: &[Prepared], key: &dyn ReleaseKey) -> Result<Vec<String>, ReleaseError> {
        // Two may sign in one folder at the same time.
        let folder =
            File::open(self.root()).map_err(|why| ReleaseError::Io { path: self.root().to_owned(), why })?;
        flock(&folder, FlockOperation::LockExclusive)
            .map_err(|why| ReleaseError::Io { path: self.root().to_owned(), why: why.into() })?;
        let mut signed = Vec::new();
        for Prepared { progress, draft: shown, .. } in prepared {
            let role = &progress.role;
            signed.push(match shown {
                Any::Root(shown) => (role, Any::Root(self.signed_too(role, shown, key)?)),
                Any::Targets(shown) => {
                    self.check_new(role, shown.says())?;
                    (role, Any::Targets(self.signed_too(role, shown, key)?))
                }
            });
        }
        for (role, draft) in signed {
            match draft {
                Any::Root(draft) => self.put_draft(role, &draft)?,
                Any::Targets(draft) => self.put_draft(role, &draft)?,
            }
        }
        self.settle()
    }

    /// The draft that was shown, with the signatures that it has got meanwhile and one more.
    fn signed_too<M: Metadata>(
        &self,
        role: &str,
        shown: &SignedMetadata<M>,
        key: &dyn ReleaseKey,
    ) -> Result<SignedMetadata<M>, ReleaseError> {
        let now = self.draft::<M>(role)?.filter(|now| now.says() == shown.says());
        let mut draft = now.ok_or_else(|| ReleaseError::Changed(role.to_owned()))?;
        draft.sign(key)?;
        Ok(draft)
    }

    /// Nobody signs what cannot be shown, or what no box would take: its version would be used up.
    fn check_new(&self, role: &str, says: &Targets) -> Result<(), ReleaseError> {
        let before =
            self.newest::<Targets>(role)?.map(|before| before.says().targets.clone()).unwrap_or_default();
        let builders = self.builders()?;
        let mut new = says.targets.iter().filter(|(name, file)| before.get(*name) != Some(file));
        new.try_for_each(|(name, file)| self.check_named(name, file, &builders))
    }

    /// Puts the drafts in force that have enough signatures, those above first: nothing is whose signers are not.
    /// Returns their roles.
    pub fn settle(&self) -> Result<Vec<String>, ReleaseError> {
        let mut settled = Vec::new();
        for role in self.offline_roles()? {
            if self.draft_bytes(&role)?.is_some() && self.is_in_force(&role)? {
                self.remove_draft(&role)?;
            }
        }
        for Prepared { progress, draft, .. } in self.prepared()? {
            // Looked at again: the role above may have come into force just now.
            if progress.is_stale || !progress.lacks.is_empty() || self.waits_for_above(&progress.role)? {
                continue;
            }
            match draft {
                Any::Root(draft) => self.enact(&progress.role, &draft)?,
                Any::Targets(draft) => self.enact(&progress.role, &draft)?,
            }
            settled.push(progress.role);
        }
        Ok(settled)
    }

    fn enact<M: Metadata>(&self, role: &str, draft: &SignedMetadata<M>) -> Result<(), ReleaseError> {
        self.put(role, draft)?;
        self.remove_draft(role)
    }

    /// Whether what a draft says is in force, whoever has signed the one or the other.
    fn is_in_force(&self, role: &str) -> Result<bool, ReleaseError> {
        if role == "root" { self.says_the_same::<Root>(role) } else { self.says_the_same::<Targets>(role) }
    }

    fn says_the_same<M: Metadata>(&self, role: &str) -> Result<bool, ReleaseError> {
        let (draft, newest) = (self.draft::<M>(role)?, self.newest::<M>(role)?);
        Ok(matches!((draft, newest), (Some(draft), Some(newest)) if draft.says() == newest.says()))
    }

    /// The version that comes next.
    fn follows(&self, role: &str) -> Result<u64, ReleaseError> {
        Ok(self.newest_version(role)?.unwrap_or_default() + 1)
    }

    /// A draft is the next version.
    fn check_version(&self, role: &str, version: u64) -> Result<(), ReleaseError> {
        let follows = self.follows(role)?;
        if version == follows {
            return Ok(());
        }
        Err(ReleaseError::Version { role: role.to_owned(), version, follows })
    }

    /// Whether what is in force of a role is signed by enough of those who are to sign it from now on.
    pub(crate) fn is_signed_by_those_who_come(&self, role: &str) -> Result<bool, ReleaseError> {
        let Some(in_force) = self.newest::<Targets>(role)? else { return Ok(false) };
        Ok(self.authorities(role)?.iter().all(|authority| authority.is_met(&in_force)))
    }

    /// Who must sign a role: for a root, those of the root before too.
    fn authorities(&self, role: &str) -> Result<Vec<Authority>, ReleaseError> {
        let missing = |role: &str| ReleaseError::Missing(role.to_owned());
        match role {
            "root" => {
                let roots = [self.newest::<Root>("root")?, self.draft("root")?];
                roots.iter().flatten().map(|root| Authority::of_root(root.says(), "root")).collect()
            }
            "targets" => {
                let root: SignedMetadata<Root> = self.coming("root")?.ok_or_else(|| missing("root"))?;
                Ok(vec![Authority::of_root(root.says(), "targets")?])
            }
            delegated => {
                let above = self.above(delegated)?;
                let says: SignedMetadata<Targets> = self.coming(&above)?.ok_or_else(|| missing(&above))?;
                Ok(vec![Authority::of_delegation(says.says(), delegated)?])
            }
        }
    }
}
