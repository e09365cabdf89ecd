//! The enrolment exchange over HTTPS: bodies as JSON with base64 bytes, and the digests that tie them together.

use crate::{AttestationChallenge, IdentityKind, NodeId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `POST /enrol/begin`. With `tpm` absent the node asks for a software identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    /// The install token.
    pub token: String,
    /// The TPM's public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmKeys>,
}

/// The public side of a TPM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmKeys {
    /// The vendor's certificate of the endorsement key, DER.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "b64::option")]
    pub ek_cert: Option<Vec<u8>>,
    /// Endorsement key, TPMT_PUBLIC.
    #[serde(with = "b64")]
    pub ek_pub: Vec<u8>,
    /// Attestation key, TPMT_PUBLIC.
    #[serde(with = "b64")]
    pub ak_pub: Vec<u8>,
    /// TLS key, TPMT_PUBLIC.
    #[serde(with = "b64")]
    pub tls_pub: Vec<u8>,
}

/// Answer to [`BeginRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginResponse {
    /// Names this exchange; single use.
    #[serde(with = "b64")]
    pub session: Vec<u8>,
    /// What a TPM has to solve; absent for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ActivationChallenge>,
    /// Seconds until the session is forgotten.
    pub expires_in_s: u32,
}

/// TPM2_MakeCredential's output and what to quote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActivationChallenge {
    /// TPMS_ID_OBJECT.
    #[serde(with = "b64")]
    pub credential_blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET's content.
    #[serde(with = "b64")]
    pub encrypted_secret: Vec<u8>,
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// `POST /enrol/finish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishRequest {
    /// From [`BeginResponse`].
    #[serde(with = "b64")]
    pub session: Vec<u8>,
    /// The certificate request: PKCS#10, DER. Only the key is read from it; the server decides the subject.
    #[serde(with = "b64")]
    pub csr: Vec<u8>,
    /// What the TPM answered; absent for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<TpmProof>,
    /// The key that will sign results.
    pub result_key: ResultKey,
}

/// The key that signs a node's results, and the proof that the node holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultKey {
    /// The public key: TPMT_PUBLIC, or for a software identity the uncompressed SEC1 point.
    #[serde(with = "b64")]
    pub public: Vec<u8>,
    /// The certification of the key by the attestation key, over the exchange's binding: TPMS_ATTEST. Absent
    /// for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "b64::option")]
    pub certify: Option<Vec<u8>>,
    /// TPMT_SIGNATURE of the certification; for a software identity the ECDSA signature by the key itself
    /// over the exchange's binding, DER.
    #[serde(with = "b64")]
    pub signature: Vec<u8>,
}

/// Quote over the registers and certification of the TLS key, both by the attestation key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmProof {
    /// Registers behind the quote: index and hex digest.
    pub pcrs: Vec<(u8, HexDigest)>,
    /// The firmware's event log, where the box has one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "b64::option")]
    pub event_log: Option<Vec<u8>>,
    /// TPMS_ATTEST of the quote.
    #[serde(with = "b64")]
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE of the quote.
    #[serde(with = "b64")]
    pub quote_sig: Vec<u8>,
    /// TPMS_ATTEST of the certification.
    #[serde(with = "b64")]
    pub certify: Vec<u8>,
    /// TPMT_SIGNATURE of the certification.
    #[serde(with = "b64")]
    pub certify_sig: Vec<u8>,
}

/// 32 bytes, as hex in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HexDigest(pub [u8; 32]);

impl Serialize for HexDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for HexDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut digest)
            .map_err(serde::de::Error::custom)?;
        Ok(Self(digest))
    }
}

/// Answer to [`FinishRequest`] and to a renewal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// The id of the node.
    pub node: NodeId,
    /// What the server decided the identity is.
    pub kind: IdentityKind,
    /// The node's certificate and its issuer, PEM, leaf first.
    pub certificate_chain: String,
    /// The certificates to trust, PEM.
    pub trust_roots: String,
    /// The highest boot epoch the server has ever seen of this node: the next one must be above it.
    pub epoch_floor: u64,
    /// Host and port of the broker.
    pub broker: String,
}

/// `POST /enrol/renew/challenge`: asks for a nonce. Anybody may ask; only the node's own key can answer, so that a node
/// whose certificate expired while it was off can still come back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewChallengeRequest {
    /// The node that asks.
    pub node: NodeId,
}

/// Answer to [`RenewChallengeRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewChallenge {
    /// Names this exchange; single use.
    #[serde(with = "b64")]
    pub session: Vec<u8>,
    /// What to quote over, with the CSR's hash.
    #[serde(with = "b64")]
    pub nonce: Vec<u8>,
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// `POST /enrol/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The node that asks; the session is good for this node alone.
    pub node: NodeId,
    /// From [`RenewChallenge`].
    #[serde(with = "b64")]
    pub session: Vec<u8>,
    /// PKCS#10, DER, signed by the enrolled TLS key.
    #[serde(with = "b64")]
    pub csr: Vec<u8>,
    /// The quote; absent for a software identity, for which the proof of possession is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<RenewProof>,
    /// ECDSA by the TLS key over [`renew_binding`], DER.
    #[serde(with = "b64")]
    pub possession: Vec<u8>,
    /// The key that will sign results.
    pub result_key: ResultKey,
}

/// A fresh quote by the attestation key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewProof {
    /// Registers behind the quote.
    pub pcrs: Vec<(u8, HexDigest)>,
    /// TPMS_ATTEST.
    #[serde(with = "b64")]
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE.
    #[serde(with = "b64")]
    pub quote_sig: Vec<u8>,
}

/// `GET /time`: the control plane's clock, for a box whose own is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerTime {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

/// `extraData` of the enrolment's quote and certifications; without a TPM the secret is empty.
pub fn enrol_binding(secret: &[u8], session: &[u8], csr: &[u8], event_log: Option<&[u8]>) -> [u8; 32] {
    Sha256::new_with_prefix(b"noderr-enrol-v1")
        .chain_update(secret)
        .chain_update(session)
        .chain_update(Sha256::digest(csr))
        .chain_update(Sha256::digest(event_log.unwrap_or_default()))
        .finalize()
        .into()
}

/// `extraData` of a renewal's quote, and the message of its proof of possession.
pub fn renew_binding(nonce: &[u8], session: &[u8], csr: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(b"noderr-renew-v1")
        .chain_update(nonce)
        .chain_update(session)
        .chain_update(Sha256::digest(csr))
        .finalize()
        .into()
}

/// `extraData` of a quote that answers a challenge over the link.
pub fn attest_binding(challenge: &AttestationChallenge) -> [u8; 32] {
    Sha256::new_with_prefix(b"noderr-attest-v1")
        .chain_update(challenge.challenge)
        .chain_update(challenge.nonce)
        .chain_update(challenge.pcr_mask.to_be_bytes())
        .finalize()
        .into()
}

/// Standard base64 for byte fields in JSON.
mod b64 {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(super) mod option {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            Option::<String>::deserialize(deserializer)?
                .map(|text| BASE64_STANDARD.decode(text).map_err(D::Error::custom))
                .transpose()
        }
    }
}
