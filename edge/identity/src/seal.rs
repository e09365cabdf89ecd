//! Seals: what is sealed was written by this box. A key in a TPM seals nothing for whoever holds only the disk; a key in a file lies on
//! that disk too.

use crate::{KeyError, NodeKeys};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Nothing else that this key signs begins so: messages of TLS begin with spaces, requests for certificates are DER, exchanges are a bare hash
/// of 32 bytes, and the health check signs a word of its own.
fn message(purpose: &str, bytes: &[u8]) -> Vec<u8> {
    [b"noderr seal\0", purpose.as_bytes(), b"\0", &Sha256::digest(bytes)[..]].concat()
}

impl NodeKeys {
    /// Seals bytes for a purpose. Blocks for as long as the keeper takes.
    pub fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(&message(purpose, bytes))
    }

    /// Whether these keys have sealed these bytes for this purpose. Blocks for as long as the keeper takes.
    pub fn has_sealed(&self, purpose: &str, bytes: &[u8], seal: &[u8]) -> Result<bool, KeyError> {
        let key = VerifyingKey::from_sec1_bytes(&self.public_sec1()?);
        let seal = DerSignature::try_from(seal);
        Ok(matches!((key, seal), (Ok(key), Ok(seal)) if key.verify(&message(purpose, bytes), &seal).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SoftwareKey;

    #[test]
    fn only_the_same_keys_seal_the_same_bytes_for_the_same_purpose() {
        let place = tempfile::tempdir().unwrap();
        let keys = |name: &str| {
            let key =
                |which: &str| SoftwareKey::open_or_create(&place.path().join(format!("{name}-{which}")));
            NodeKeys::Software { tls: key("tls").unwrap(), results: key("results").unwrap() }
        };
        let (ours, theirs) = (keys("ours"), keys("theirs"));
        let seal = ours.seal("root", b"bytes").unwrap();
        assert!(ours.has_sealed("root", b"bytes", &seal).unwrap());
        assert!(!ours.has_sealed("root", b"other", &seal).unwrap());
        assert!(!ours.has_sealed("other", b"bytes", &seal).unwrap());
        assert!(!theirs.has_sealed("root", b"bytes", &seal).unwrap());
        assert!(!ours.has_sealed("root", b"bytes", b"no signature").unwrap());
    }
}
