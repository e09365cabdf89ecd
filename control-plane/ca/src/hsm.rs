//! The authority's private key in an HSM.

use noderr_hsm::HsmKey;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};

/// A key in an HSM, as certificates ask for one.
pub struct HsmCaKey(HsmKey);

impl HsmCaKey {
    /// The authority signs with this key.
    pub const fn new(key: HsmKey) -> Self {
        Self(key)
    }
}

impl PublicKeyData for HsmCaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for HsmCaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|error| {
            tracing::error!(%error, "the HSM did not sign");
            rcgen::Error::RemoteKeyError
        })
    }
}
