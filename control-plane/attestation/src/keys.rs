//! The four keys of a box, each of a type that can only be had by passing its checks.

use crate::public::{Attributes, KeyMaterial, Name, PublicArea};
use crate::{EkCertificate, Refusal};
use p256::ecdsa::VerifyingKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256};

/// The TPM's own key, to which credentials are made. Proves nothing until a vendor's certificate speaks for it.
#[derive(Debug, Clone)]
pub struct EndorsementKey(pub(crate) PublicArea);

impl EndorsementKey {
    /// Reads a restricted decryption key with the standard AES-128-CFB protection.
    pub fn parse(tpmt_public: &[u8]) -> Result<Self, Refusal> {
        let area = PublicArea::parse(tpmt_public, "endorsement key")?;
        let wanted = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::RESTRICTED
            | Attributes::DECRYPT;
        let fits = area.attributes.has(wanted) && area.attributes.lacks(Attributes::SIGN) && area.aes128_cfb;
        if fits { Ok(Self(area)) } else { Err(Refusal::EkAttributes) }
    }

    /// Whether it is an RSA key; else it is one of P-256.
    pub fn is_rsa(&self) -> bool {
        matches!(self.0.material, KeyMaterial::Rsa(_))
    }

    /// Refuses a certificate of another key.
    pub fn check_certificate(&self, certificate: &EkCertificate) -> Result<(), Refusal> {
        if certificate.material == self.0.material { Ok(()) } else { Err(Refusal::EkMismatch) }
    }

    /// The digest of the key by which this TPM is recognised later. The key's name would not do: a name
    /// covers bytes that nobody vouches for, and one TPM could show itself under many names.
    pub fn fingerprint(&self) -> [u8; 32] {
        let digest = Sha256::new_with_prefix(b"noderr-ek-v1");
        match &self.0.material {
            KeyMaterial::Rsa(key) => digest.chain_update(b"rsa").chain_update(key.n().to_bytes_be()),
            KeyMaterial::P256(key) => {
                digest.chain_update(b"p256").chain_update(key.to_encoded_point(false).as_bytes())
            }
        }
        .finalize()
        .into()
    }
}

/// The restricted key that signs only what the TPM itself made.
#[derive(Debug, Clone)]
pub struct AttestationKey {
    pub(crate) key: VerifyingKey,
    name: Name,
}

impl AttestationKey {
    /// Reads a restricted ECDSA P-256 signing key.
    pub fn parse(tpmt_public: &[u8]) -> Result<Self, Refusal> {
        let area = PublicArea::parse(tpmt_public, "attestation key")?;
        let made_inside = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::SIGN;
        let fits = area.attributes.has(made_inside | Attributes::RESTRICTED)
            && area.attributes.lacks(Attributes::DECRYPT)
            && area.signs_ecdsa_sha256;
        if !fits {
            return Err(Refusal::AkAttributes);
        }
        Ok(Self { key: p256_of(&area, "attestation key")?.into(), name: area.name().clone() })
    }

    /// The key's name, to which credentials are bound.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// The unrestricted key of the node's certificate.
#[derive(Debug, Clone)]
pub struct TlsKey {
    key: p256::PublicKey,
    name: Name,
}

impl TlsKey {
    /// Reads an unrestricted P-256 signing key that is not the attestation key.
    pub fn parse(tpmt_public: &[u8], ak: &AttestationKey) -> Result<Self, Refusal> {
        let area = PublicArea::parse(tpmt_public, "TLS key")?;
        if area.name() == ak.name() {
            return Err(Refusal::AkAsTlsKey);
        }
        if !is_unrestricted(&area) {
            return Err(Refusal::TlsAttributes);
        }
        let key = p256_of(&area, "TLS key")?;
        if VerifyingKey::from(key) == ak.key {
            return Err(Refusal::AkAsTlsKey);
        }
        Ok(Self { key, name: area.name().clone() })
    }

    /// The key's name, which the certification must state.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The key as an uncompressed SEC1 point, as a certificate request carries it.
    pub fn sec1(&self) -> Vec<u8> {
        self.key.to_encoded_point(false).as_bytes().to_vec()
    }

    /// Refuses a certificate request for any other key.
    pub fn check_csr_key(&self, csr_key_sec1: &[u8]) -> Result<(), Refusal> {
        if self.sec1() == csr_key_sec1 { Ok(()) } else { Err(Refusal::CsrKey) }
    }
}

/// The unrestricted key that signs a node's results.
#[derive(Debug, Clone)]
pub struct ResultKey {
    key: p256::PublicKey,
    name: Name,
}

impl ResultKey {
    /// Reads an unrestricted P-256 signing key that is neither the attestation key nor the TLS key: a
    /// signature by one of the keys must never pass for a signature by another.
    pub fn parse(tpmt_public: &[u8], ak: &AttestationKey, tls_sec1: &[u8]) -> Result<Self, Refusal> {
        let area = PublicArea::parse(tpmt_public, "result key")?;
        let key = p256_of(&area, "result key")?;
        let read = Self { key, name: area.name().clone() };
        if !is_unrestricted(&area) || VerifyingKey::from(key) == ak.key || read.sec1() == tls_sec1 {
            return Err(Refusal::ResultKey);
        }
        Ok(read)
    }

    /// The key's name, which the certification must state.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The key as an uncompressed SEC1 point.
    pub fn sec1(&self) -> Vec<u8> {
        self.key.to_encoded_point(false).as_bytes().to_vec()
    }
}

/// Whether the key is a signing key that was made in its TPM, cannot leave it, and signs any digest.
fn is_unrestricted(area: &PublicArea) -> bool {
    let made_inside = Attributes::FIXED_TPM
        | Attributes::FIXED_PARENT
        | Attributes::SENSITIVE_DATA_ORIGIN
        | Attributes::SIGN;
    area.attributes.has(made_inside) && area.attributes.lacks(Attributes::DECRYPT | Attributes::RESTRICTED)
}

fn p256_of(area: &PublicArea, what: &'static str) -> Result<p256::PublicKey, Refusal> {
    match &area.material {
        KeyMaterial::P256(key) => Ok(*key),
        KeyMaterial::Rsa(_) => Err(Refusal::Algorithm { what }),
    }
}
