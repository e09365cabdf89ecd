//! What this feature calls things.

use noderr_kernel::{Permission, Role, Topic};

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
