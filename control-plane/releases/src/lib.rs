//! Authoring releases: the signed metadata that boxes trust, in a folder that travels on a stick.
//!
//! [`Metadata`] is what a role says, [`SignedMetadata`] is that with the signatures so far. In a [`ReleaseFolder`], drafts wait until
//! enough have signed; from then on they are in force. Published is what the control plane has. Keys are [`ReleaseKey`]s: here in
//! encrypted files ([`FileKey`]).
//!
//! ```
//! use noderr_releases::{SignedMetadata, FileKey, ReleaseFolder, ReleaseKey as _, Roles, Root};
//!
//! let [anna, ben, online] = [(); 3].map(|()| FileKey::generate());
//! let roles = Roles {
//!     root: (&[anna.public(), ben.public()], 2),
//!     targets: (&[anna.public()], 1),
//!     snapshot: (&[online.public()], 1),
//!     timestamp: (&[online.public()], 1),
//! };
//! let mut root = SignedMetadata::new(Root::new(1, "2027-01-01T00:00:00Z".parse().unwrap(), &roles));
//! root.sign(&anna).unwrap();
//! assert_eq!(root.signed_by().len(), 1);
//! root.sign(&ben).unwrap();
//! let folder = tempfile::tempdir().unwrap();
//! ReleaseFolder::new(folder.path()).put("root", &root).unwrap();
//! ```

mod artefacts;
mod authority;
mod begin;
mod builders;
mod changes;
mod check;
mod digest;
mod folder;
mod key;
mod metadata;
mod named;
mod online;
mod published;
mod recover;
mod rotation;
mod shelves;
mod signed;
mod signing;
mod soundness;
mod stick;
mod words;

pub use artefacts::check_index;
pub use authority::Lack;
pub use begin::FirstKeys;
pub use builders::{BuilderKey, new_builder, new_unlocked_builder};
pub use changes::{NewRelease, Terms};
pub use check::Artefacts;
pub use digest::sha256;
pub use folder::ReleaseFolder;
pub use key::{FileKey, PublicKey, ReleaseKey};
pub use metadata::{
    DelegatedRole, Delegations, MetaFile, Metadata, RoleKeys, Roles, Root, Snapshot, TargetFile, Targets,
    Timestamp,
};
pub use online::{refresh_online, refresh_online_from, timestamp_with};
pub use published::Published;
pub use shelves::shelf_of;
pub use signed::SignedMetadata;
pub use signing::{Prepared, Progress};
pub use stick::OnlineFiles;
pub use words::{Sentence, listed};

/// Why a release cannot be made as asked.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The file system refused.
    #[error("{path}: {why}")]
    Io {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not understood: {why}")]
    Unreadable {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        why: String,
    },
    /// Metadata cannot be written down.
    #[error("the metadata cannot be written down: {0}")]
    Unwritable(String),
    /// A key cannot be used.
    #[error("{0}")]
    Key(String),
    /// What is in force is never replaced.
    #[error("version {version} of {role} is signed by enough already; the next one is {}", .version + 1)]
    InForce {
        /// The role.
        role: String,
        /// Its version.
        version: u64,
    },
    /// A draft does not follow what is in force.
    #[error(
        "version {version} of {role} does not follow what was signed last, whose next version is {follows}: `noderrctl release discard` takes the draft of {role} back"
    )]
    Version {
        /// The role.
        role: String,
        /// The version of the draft.
        version: u64,
        /// The next version.
        follows: u64,
    },
    /// What was released is never changed.
    #[error("{0} is there already, and what was released is never changed: give it another version")]
    Released(String),
    /// A version that is lower than one that was released.
    #[error("{release} is not newer than {newest}; if an older version is meant, say --older")]
    GoesBack {
        /// The release.
        release: String,
        /// The newest version of its name.
        newest: String,
    },
    /// A security epoch that falls.
    #[error(
        "{release} would have the security epoch {epoch}, and {before}: later versions have the same or a greater one, and boxes take no smaller one; see --security-epoch"
    )]
    Epoch {
        /// The release.
        release: String,
        /// Its epoch.
        epoch: u32,
        /// What an earlier version has.
        before: String,
    },
    /// A file is not the artefact of its release.
    #[error("{path} is not what it should be: {why}")]
    NotTheArtefact {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        why: noderr_archive::NotTheArtefact,
    },
    /// A key that signs online would sign offline too.
    #[error(
        "{0} is the control plane's key and would sign something else too: the control plane's key lies on a machine with a network"
    )]
    OnlineToo(String),
    /// A release that is prepared.
    #[error("{0} is prepared already; `noderrctl release discard` takes it back")]
    Prepared(String),
    /// A withdrawal that is prepared.
    #[error(
        "the withdrawal of {0} is prepared already: it waits for signatures; see `noderrctl release show`"
    )]
    Withdrawing(String),
    /// A release that was never in force.
    #[error("{0} is only prepared: `noderrctl release discard` takes it back")]
    OnlyPrepared(String),
    /// There is no such release.
    #[error("there is no release {0}; see `noderrctl release list`")]
    NoRelease(String),
    /// A role has no draft.
    #[error("nothing is prepared of {0}; see `noderrctl release show`")]
    NoDraft(String),
    /// The draft is all that there is of a role.
    #[error(
        "{0} has no version before this draft, and the folder is none without the role: begin the folder anew instead"
    )]
    OnlyVersion(String),
    /// What the control plane has signed does not go onto a stick.
    #[error("what the control plane hands out cannot be laid on a stick: {0}")]
    NotForAStick(String),
    /// What a control plane hands out is not what is published.
    #[error("the control plane hands out as {0} what is none: {1}")]
    NotPublished(String, String),
    /// No builder of the network has signed an artefact, or not under this name.
    #[error("boxes would not take {0}: {1}")]
    NotBuilt(String, String),
    /// Somebody has written another draft meanwhile.
    #[error("{0} is another draft now than the one that was shown: nothing was signed, look at it again")]
    Changed(String),
    /// Something is missing that must be in force first.
    #[error("{0} lacks signatures: nothing counts of it yet, see `noderrctl release show`")]
    Missing(String),
}
