//! What this feature calls things.

use noderr_kernel::{Kind, Permission, Problem, Role, Topic};

/// Something that boxes are shown has changed.
pub const CHANGED: Topic = Topic("supply");

/// Sees releases, channels, and what boxes have made of them.
pub const READ_RELEASES: Permission = Permission {
    name: "read-releases",
    about: "See releases, channels, and what nodes have made of them",
    roles: &[Role::Releases, Role::Fleet, Role::Reviewer, Role::Auditor],
    operators: false,
};

/// Publishes releases, and says which boxes get which.
pub const WRITE_RELEASES: Permission = Permission {
    name: "write-releases",
    about: "Publish releases that were signed, and say which nodes get which",
    roles: &[Role::Releases],
    operators: false,
};

pub(super) const NOT_FIT: Kind =
    Kind::new(422, "release-not-fit", "what was signed is not fit to be handed out");

pub(super) fn not_fit(why: impl std::fmt::Display) -> Problem {
    NOT_FIT.because(why.to_string())
}

pub(super) const NO_ARCHIVE: Kind =
    Kind::new(409, "archive-missing", "an archive that a release names was not uploaded");
pub(super) const ANOTHER_PART: Kind = Kind::new(409, "upload-offset", "the upload goes on at another place");
pub(super) const NOT_THE_ARCHIVE: Kind =
    Kind::new(422, "archive-mismatch", "what was uploaded has another hash");
pub(super) const TOO_LARGE: Kind =
    Kind::new(413, "archive-too-large", "the archive is larger than one may be");

pub(super) const TOO_MANY: Kind = Kind::new(429, "too-many-uploads", "too many uploads are begun");
pub(super) const NO_ROOM: Kind = Kind::new(507, "no-room", "the disk of the control plane is nearly full");

pub(super) const PROBLEMS: &[Kind] =
    &[NOT_FIT, NO_ARCHIVE, ANOTHER_PART, NOT_THE_ARCHIVE, TOO_LARGE, TOO_MANY, NO_ROOM];
