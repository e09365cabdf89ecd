//! What this feature declares for others to go by: permissions, kinds of problems, topics.

use noderr_kernel::Kind;

pub(super) const MAY_NOT_ENROL: Kind =
    Kind::new(409, "may-not-enrol", "the node is revoked, or its operator is not approved");
