//! What this feature declares for the rest of the program: permissions and kinds of problems.

use noderr_kernel::{Kind, Permission};

/// Issue and revoke API tokens.
pub const MANAGE_TOKENS: Permission =
    Permission { name: "manage-tokens", about: "Issue and revoke API tokens", roles: &[], operators: false };

pub(super) const UNKNOWN_PERMISSION: Kind =
    Kind::new(400, "unknown-permission", "there is no such permission");

pub(super) const READS_ONLY: Kind = Kind::new(
    403,
    "reads-only",
    "a token that is bound to an operator may hold what operators hold, and no more",
);
