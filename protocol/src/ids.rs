//! The node id, and the kind of identity behind a node.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Keccak256};
use std::fmt;
use std::str::FromStr;

/// A node's name for life: 32 bytes, given when an administrator adds the node, shown as 64 lowercase hex
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Derives an id: keccak-256 over the operator that the node belongs to and a salt that is used once.
    pub fn derive(operator: &[u8; 16], salt: &[u8; 32]) -> Self {
        let digest =
            Keccak256::new_with_prefix(b"noderr-node-id-v1").chain_update(operator).chain_update(salt);
        Self(digest.finalize().into())
    }

    /// The id whose raw bytes are these.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight digits: enough for a person to tell nodes apart in a list, not enough to be unique.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// Text that is not 64 lowercase hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 64 lowercase hex digits")]
pub struct ParseNodeIdError;

impl FromStr for NodeId {
    type Err = ParseNodeIdError;
    fn from_str(text: &str) -> Result<Self, ParseNodeIdError> {
        // One spelling only: the id is also a certificate name and a topic level, compared as text there.
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseNodeIdError);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseNodeIdError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// What stands behind a node's key. Decided by the server from evidence, never claimed by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// Keys that live in a TPM whose endorsement the server has checked.
    Tpm,
    /// A key in a file: allowed only where the network's policy says so, shown as such everywhere.
    Software,
}

impl IdentityKind {
    /// The name stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tpm => "tpm",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for IdentityKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tpm" => Ok(Self::Tpm),
            "software" => Ok(Self::Software),
            other => Err(format!("unknown identity kind `{other}`")),
        }
    }
}
