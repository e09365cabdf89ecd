//! What this feature declares for the rest of the program: permissions, kinds of problems, topics, names.

use noderr_kernel::{Kind, Permission, Role, Topic};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The name of an attestation: that of its challenge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Challenge(pub(super) [u8; 16]);

impl<'de> Deserialize<'de> for Challenge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut challenge = [0; 16];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut challenge).map_err(|_| {
            D::Error::custom("an attestation is named by its challenge, 32 hexadecimal digits")
        })?;
        Ok(Self(challenge))
    }
}

/// Ask nodes for attestation, accept new baselines.
pub const ATTEST: Permission = Permission {
    name: "attest",
    about: "Ask nodes for attestation, accept new baselines",
    roles: &[Role::Fleet],
    operators: false,
};

/// The topic of a challenge that waits for a node. The key is the node's id.
pub(super) const CHALLENGED: Topic = Topic("challenge");

pub(super) const NOTHING_TO_ATTEST: Kind = Kind::new(
    409,
    "nothing-to-attest",
    "the node is not enrolled, or it is revoked, or its operator is suspended",
);

pub(super) const NO_ATTESTATION: Kind = Kind::new(
    409,
    "no-attestation",
    "no attestation of this node with that challenge has shown its registers",
);
