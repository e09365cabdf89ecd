//! A certificate request, of which only the proven key is kept.

use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _};

/// A request whose signature was checked: the maker of the request holds the key.
pub struct Csr {
    pub(crate) key: PublicKey,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS#10 request, or its signature is wrong.
    #[error("the certificate request is malformed or not signed by its own key: {0}")]
    Unreadable(#[from] rcgen::Error),
    /// Another kind of key.
    #[error("the certificate request must be for an ECDSA P-256 key")]
    Algorithm,
    /// Not signed by the request's key.
    #[error("the signature is not by the request's key")]
    Signature,
}

impl Csr {
    /// Reads and checks a DER request.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        let request = CertificateSigningRequestParams::from_der(&der.into())?;
        let key = request.public_key;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
            return Err(CsrError::Algorithm);
        }
        Ok(Self { key })
    }

    /// Checks an ECDSA-SHA256 signature (DER) by the request's key over `message`.
    pub fn check_signature(&self, message: &[u8], signature: &[u8]) -> Result<(), CsrError> {
        check_signature(self.key_sec1(), message, signature)
    }

    /// The key as an uncompressed SEC1 point.
    pub fn key_sec1(&self) -> &[u8] {
        self.key.der_bytes()
    }
}

/// Checks an ECDSA-SHA256 signature (DER) over `message` by a key that is given as an uncompressed SEC1 point.
pub fn check_signature(key_sec1: &[u8], message: &[u8], signature: &[u8]) -> Result<(), CsrError> {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, key_sec1)
        .verify(message, signature)
        .map_err(|_| CsrError::Signature)
}
