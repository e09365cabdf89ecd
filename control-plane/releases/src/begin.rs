//! How a folder begins, and how something is taken back: a release that is out, or a draft that nobody wants.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::folder::ReleaseFolder;
use crate::key::PublicKey;
use crate::metadata::{Roles, Root, Targets};
use crate::shelves::{shelf_of, shelves};
use noderr_protocol::release::{BUILDERS, Builders, ReleaseKind, ReleaseName};

/// Who signs what from the first root on.
pub struct FirstKeys<'a> {
    /// Roots, and how many of them must sign one.
    pub root: (&'a [&'a PublicKey], usize),
    /// Which roles there are.
    pub targets: &'a PublicKey,
    /// Releases of each kind, in the order of [`ReleaseKind::KNOWN`].
    pub kinds: [&'a PublicKey; 2],
    /// Snapshots and timestamps: the control plane's key.
    pub online: &'a PublicKey,
}

impl ReleaseFolder {
    /// Prepares the first root and the roles below it.
    pub fn begin(
        &self,
        keys: &FirstKeys<'_>,
        builders: &Builders,
        ends: jiff::Timestamp,
    ) -> Result<(), ReleaseError> {
        let roles = Roles {
            root: keys.root,
            targets: (&[keys.targets], 1),
            snapshot: (&[keys.online], 1),
            timestamp: (&[keys.online], 1),
        };
        let mut top = Targets::new(1, ends);
        let builders =
            serde_json::to_vec(builders).map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        top.targets.insert(BUILDERS.to_owned(), self.put_target(BUILDERS, &builders)?);
        for (kind, key) in ReleaseKind::KNOWN.iter().map(|kind| kind.name()).zip(keys.kinds) {
            top.delegate(&kind, &[&format!("{kind}/*/*")], &[key], 1);
            for (role, says) in shelves(&kind, ends, &[key], 1) {
                self.put_draft(&role, &Draft::new(says))?;
            }
        }
        self.put_draft("targets", &Draft::new(top))?;
        // Last: with a root, the folder is one.
        self.put_draft("root", &Draft::new(Root::new(1, ends, &roles)))
    }

    /// Prepares the withdrawal of a release.
    pub fn withdraw(&self, release: &ReleaseName) -> Result<(), ReleaseError> {
        let role = shelf_of(release);
        let mut says = self.next(&role)?;
        if says.targets.remove(&release.to_string()).is_none() {
            return Err(ReleaseError::NoRelease(release.to_string()));
        }
        self.put_draft(&role, &Draft::new(says))
    }

    /// Takes a release back that is prepared and not published.
    pub fn discard_release(&self, release: &ReleaseName) -> Result<(), ReleaseError> {
        let (role, name) = (shelf_of(release), release.to_string());
        let published = self.newest::<Targets>(&role)?.map(|targets| targets.says().targets.clone());
        let published = published.unwrap_or_default();
        let draft = self.draft::<Targets>(&role)?.filter(|draft| draft.says().targets.contains_key(&name));
        let draft = draft.filter(|_| !published.contains_key(&name));
        let mut says = draft.ok_or_else(|| ReleaseError::NoDraft(name.clone()))?.says().clone();
        says.targets.remove(&name);
        if says.targets == published && self.newest_version(&role)?.is_some() {
            return self.discard(&role);
        }
        self.put_draft(&role, &Draft::new(says))
    }

    /// Deletes the draft of a role, with the signatures that the draft has.
    pub fn discard(&self, role: &str) -> Result<(), ReleaseError> {
        let is_known = self.offline_roles()?.iter().any(|known| known == role);
        if !is_known || self.draft_bytes(role)?.is_none() {
            return Err(ReleaseError::NoDraft(role.to_owned()));
        }
        if self.newest_version(role)?.is_none() {
            return Err(ReleaseError::OnlyVersion(role.to_owned()));
        }
        self.remove_draft(role)?;
        // A role below may have waited for this one alone.
        self.settle()
    }
}
