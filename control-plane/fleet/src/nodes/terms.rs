//! What this feature declares for the rest of the program: permissions, kinds of problems, topics.

use noderr_kernel::{Kind, Permission, Role, Topic};

/// See nodes and what they report.
pub const READ_NODES: Permission = Permission {
    name: "read-nodes",
    about: "See nodes and what they report",
    roles: &[Role::Fleet, Role::Reviewer, Role::Auditor, Role::Releases],
    operators: true,
};

/// The topic of a node whose certificates were voided, because the node was revoked or unbound, or has
/// enrolled anew. The key is the node's id.
pub(crate) const VOIDED: Topic = Topic("voided");

/// The topic of a node whose desired state has changed. The key is the node's id.
pub(crate) const DESIRED: Topic = Topic("desired");

/// The topic of many nodes whose desired states have changed.
pub(super) const DESIRED_OF_MANY: Topic = Topic("desired-of-many");

pub(super) const OPERATOR_NOT_APPROVED: Kind =
    Kind::new(409, "operator-not-approved", "there is no such operator, or it is not approved yet");

pub(super) const REVOKED: Kind =
    Kind::new(409, "revoked", "the node is revoked, and for good: no box can enrol under its id");

/// Add, change and revoke nodes; issue install tokens.
pub const WRITE_NODES: Permission = Permission {
    name: "write-nodes",
    about: "Add, change and revoke nodes; issue install tokens",
    roles: &[Role::Fleet],
    operators: false,
};

pub(super) const NO_TPM: Kind =
    Kind::new(409, "no-tpm", "no TPM stands behind this node, so there is none to bar");
