//! What this feature declares for the rest of the program: kinds of problems.

use noderr_kernel::Kind;

pub(super) const MAY_NOT_ENROL: Kind =
    Kind::new(409, "may-not-enrol", "the node is revoked, or its operator is not approved");
