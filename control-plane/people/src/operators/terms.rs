//! What this feature declares for the rest of the program: permissions, kinds of problems, topics.

use noderr_kernel::{Kind, Permission, Role, Topic};

/// See operators.
pub const READ_OPERATORS: Permission = Permission {
    name: "read-operators",
    about: "See operators",
    roles: &[Role::Reviewer, Role::Fleet, Role::Auditor],
    operators: true,
};

/// Add, approve and suspend operators.
pub const WRITE_OPERATORS: Permission = Permission {
    name: "write-operators",
    about: "Add, approve and suspend operators",
    roles: &[Role::Reviewer],
    operators: false,
};

/// The topic of an operator who was suspended or approved. The key is the operator's id.
pub const STANDING: Topic = Topic("standing");

pub(super) const EMAIL_TAKEN: Kind =
    Kind::new(409, "email-taken", "there is an operator with this e-mail address already");
