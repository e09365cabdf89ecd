//! Metadata on its way: what it says, and who has signed it so far.

use crate::ReleaseError;
use crate::key::{PublicKey, ReleaseKey};
use crate::metadata::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// More signatures than a role ever has.
const MOST_SIGNATURES: usize = 64;

/// What a role says, and the signatures so far. A draft lacks some; what is in force has enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedMetadata<M> {
    signed: M,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

impl<M: Metadata> SignedMetadata<M> {
    /// Nobody has signed it yet.
    pub const fn new(metadata: M) -> Self {
        Self { signed: metadata, signatures: Vec::new() }
    }

    /// What it says.
    pub const fn says(&self) -> &M {
        &self.signed
    }

    /// The ids of the keys that have signed.
    pub fn signed_by(&self) -> BTreeSet<&str> {
        self.signatures.iter().map(|signature| signature.keyid.as_str()).collect()
    }

    /// Signs it; a key that has signed before signs anew.
    pub fn sign(&mut self, key: &dyn ReleaseKey) -> Result<(), ReleaseError> {
        let keyid = key.public().id();
        let sig = hex::encode(key.sign(&self.canonical()?)?);
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
        Ok(())
    }

    /// Whether this key has signed just this.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(bytes) = self.canonical() else { return false };
        let of_key = |signature: &&Signature| signature.keyid == key.id();
        let mut signed =
            self.signatures.iter().filter(of_key).filter_map(|signature| hex::decode(&signature.sig).ok());
        signed.any(|signature| key.has_signed(&bytes, &signature))
    }

    /// Which of these keys, each with its id, have signed just this.
    pub(crate) fn signers<'a>(
        &self,
        keys: impl Iterator<Item = (&'a String, &'a PublicKey)>,
    ) -> BTreeSet<&'a String> {
        let Ok(bytes) = self.canonical() else { return BTreeSet::new() };
        let signed = |id: &str, key: &PublicKey| {
            let mut own = self.signatures.iter().filter(|signature| signature.keyid == id);
            own.any(|own| hex::decode(&own.sig).is_ok_and(|signature| key.has_signed(&bytes, &signature)))
        };
        keys.filter(|(id, key)| signed(id, key)).map(|(id, _)| id).collect()
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReleaseError> {
        serde_json::to_vec(self).map_err(unwritable)
    }

    /// Reads metadata, and refuses what says more than this tool knows, says it in other words or does not mean what it seems to
    /// mean: signatures cover it all.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let written: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let draft: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let read = serde_json::to_value(&draft).map_err(|error| error.to_string())?;
        if read != written {
            return Err("it says more than is understood, or says it in other words".to_owned());
        }
        if draft.signatures.len() > MOST_SIGNATURES || draft.signed_by().len() < draft.signatures.len() {
            return Err(format!("it has more than {MOST_SIGNATURES} signatures, or two of one key"));
        }
        draft.signed.check()?;
        Ok(draft)
    }

    /// The bytes that signatures cover.
    pub(crate) fn canonical(&self) -> Result<Vec<u8>, ReleaseError> {
        let value = serde_json::to_value(&self.signed).map_err(unwritable)?;
        sigstore_tuf::canonical_json::to_canonical_bytes(&value).map_err(unwritable)
    }
}

fn unwritable(error: impl std::fmt::Display) -> ReleaseError {
    ReleaseError::Unwritable(error.to_string())
}
