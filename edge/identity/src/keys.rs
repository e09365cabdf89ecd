//! The node's keys, wherever they are kept: the TLS key with its certificate request, and the key that signs
//! results.

use crate::{KeyError, SoftwareKey, Tpm};
use noderr_protocol::IdentityKind;
use noderr_protocol::enrol::ResultKey;
use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};

/// Where the node's keys live.
#[derive(Clone)]
pub enum NodeKeys {
    /// In a TPM.
    Tpm(Tpm),
    /// In files.
    Software {
        /// The TLS key.
        tls: SoftwareKey,
        /// The key of results.
        results: SoftwareKey,
    },
}

impl NodeKeys {
    /// What kind of identity these keys make.
    pub const fn kind(&self) -> IdentityKind {
        match self {
            Self::Tpm(_) => IdentityKind::Tpm,
            Self::Software { .. } => IdentityKind::Software,
        }
    }

    /// The TLS key as an uncompressed SEC1 point.
    pub fn public_sec1(&self) -> Result<[u8; 65], KeyError> {
        match self {
            Self::Tpm(tpm) => Ok(tpm.tls_public_sec1()?),
            Self::Software { tls, .. } => Ok(tls.public_sec1()),
        }
    }

    /// ECDSA with SHA-256 over `message`, DER. Blocks for as long as the keeper takes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Tpm(tpm) => Ok(tpm.sign(message)?),
            Self::Software { tls, .. } => Ok(tls.sign(message)),
        }
    }

    /// ECDSA by the key of results with SHA-256 over `message`, DER. Blocks for as long as the keeper takes.
    pub fn sign_result(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Tpm(tpm) => Ok(tpm.sign_result(message)?),
            Self::Software { results, .. } => Ok(results.sign(message)),
        }
    }

    /// The key of results with the proof that this node holds it, for one exchange.
    pub fn prove_result_key(&self, binding: &[u8; 32]) -> Result<ResultKey, KeyError> {
        match self {
            Self::Tpm(tpm) => {
                let (public, evidence) = tpm.certify_result_key(*binding)?;
                let certify = Some(evidence.attest.into());
                Ok(ResultKey { public: public.into(), certify, signature: evidence.signature.into() })
            }
            Self::Software { results, .. } => {
                let public = results.public_sec1().to_vec().into();
                Ok(ResultKey { public, certify: None, signature: results.sign(binding).into() })
            }
        }
    }
}

/// A PKCS#10 request for the TLS key. Its subject is empty: the server decides the name.
pub fn certificate_request(keys: &NodeKeys) -> Result<Vec<u8>, KeyError> {
    let signer = RequestSigner { public: keys.public_sec1()?, keys };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(&signer)?.der().to_vec())
}

struct RequestSigner<'a> {
    public: [u8; 65],
    keys: &'a NodeKeys,
}

impl PublicKeyData for RequestSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for RequestSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.keys.sign(message).map_err(|error| {
            tracing::warn!(%error, "the certificate request could not be signed");
            rcgen::Error::RemoteKeyError
        })
    }
}
