//! The enrolment exchange over HTTPS: bodies as JSON with base64 bytes, and the digests that tie them together.

use crate::json::{Base64, HexDigest, RegisterIndex};
use crate::{AttestationChallenge, IdentityKind, NodeId, PcrValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `POST /enrol/begin`. With `tpm` absent the node asks for a software identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeginRequest {
    /// The install token.
    pub token: String,
    /// The TPM's public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmKeys>,
}

/// The public side of a TPM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TpmKeys {
    /// The vendor's certificate of the endorsement key, DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_cert: Option<Base64>,
    /// Endorsement key, TPMT_PUBLIC.
    pub ek_pub: Base64,
    /// Attestation key, TPMT_PUBLIC.
    pub ak_pub: Base64,
    /// TLS key, TPMT_PUBLIC.
    pub tls_pub: Base64,
}

/// Answer to [`BeginRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeginResponse {
    /// Names this exchange; single use.
    pub session: Base64,
    /// What a TPM has to solve; absent for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ActivationChallenge>,
    /// Seconds until the session is forgotten.
    pub expires_in_s: u32,
}

/// TPM2_MakeCredential's output and what to quote.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActivationChallenge {
    /// TPMS_ID_OBJECT.
    pub credential_blob: Base64,
    /// TPM2B_ENCRYPTED_SECRET's content.
    pub encrypted_secret: Base64,
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// `POST /enrol/finish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishRequest {
    /// From [`BeginResponse`].
    pub session: Base64,
    /// The certificate request: PKCS#10, DER. Only the key is read from it; the server decides the subject.
    pub csr: Base64,
    /// What the TPM answered; absent for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<TpmProof>,
    /// For a software identity: ECDSA by the TLS key over [`enrol_binding`], DER. Absent where the TPM certifies the
    /// TLS key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possession: Option<Base64>,
    /// The key that will sign results.
    pub result_key: ResultKey,
}

/// The key that signs a node's results, and the proof that the node holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResultKey {
    /// The public key: TPMT_PUBLIC, or for a software identity the uncompressed SEC1 point.
    pub public: Base64,
    /// The certification of the key by the attestation key, over the exchange's binding: TPMS_ATTEST. Absent
    /// for a software identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certify: Option<Base64>,
    /// TPMT_SIGNATURE of the certification; for a software identity the ECDSA signature by the key itself
    /// over the exchange's binding, DER.
    pub signature: Base64,
}

/// Quote over the registers and certification of the TLS key, both by the attestation key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TpmProof {
    /// The registers behind the quote, each once.
    pub pcrs: Vec<Register>,
    /// The firmware's event log, where the box has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Base64>,
    /// TPMS_ATTEST of the quote.
    pub quote: Base64,
    /// TPMT_SIGNATURE of the quote.
    pub quote_sig: Base64,
    /// TPMS_ATTEST of the certification.
    pub certify: Base64,
    /// TPMT_SIGNATURE of the certification.
    pub certify_sig: Base64,
}

/// One register of the SHA-256 bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Register {
    /// The index of the register.
    pub index: RegisterIndex,
    /// What the register holds.
    pub sha256: HexDigest,
}

impl Register {
    /// The register of this value, if a TPM has such a register.
    pub fn of(value: PcrValue) -> Option<Self> {
        Some(Self { index: RegisterIndex::new(value.index)?, sha256: HexDigest(value.digest) })
    }
}

/// Answer to [`FinishRequest`] and to a renewal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// The newest root of the network's releases, as it was signed. A node takes one root in its life, and follows the chain from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_root: Option<String>,
}

/// `POST /enrol/renew/challenge`: asks for a nonce. Anybody may ask; only the node's own key can answer, so that a node
/// whose certificate expired while it was off can still come back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewChallengeRequest {
    /// The node that asks.
    pub node: NodeId,
}

/// Answer to [`RenewChallengeRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewChallenge {
    /// Names this exchange; single use.
    pub session: Base64,
    /// What to quote over, with the CSR's hash.
    pub nonce: Base64,
    /// Bit `i` asks for register `i` of the SHA-256 bank.
    pub pcr_mask: u32,
}

/// `POST /enrol/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewRequest {
    /// The node that asks; the session is good for this node alone.
    pub node: NodeId,
    /// From [`RenewChallenge`].
    pub session: Base64,
    /// PKCS#10, DER, signed by the enrolled TLS key.
    pub csr: Base64,
    /// The quote; absent for a software identity, for which the proof of possession is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<RenewProof>,
    /// ECDSA by the TLS key over [`renew_binding`], DER.
    pub possession: Base64,
    /// The key that will sign results.
    pub result_key: ResultKey,
}

/// A fresh quote by the attestation key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewProof {
    /// The registers behind the quote, each once.
    pub pcrs: Vec<Register>,
    /// TPMS_ATTEST.
    pub quote: Base64,
    /// TPMT_SIGNATURE.
    pub quote_sig: Base64,
}

/// `GET /time`: the control plane's clock, for a box whose own is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerTime {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

/// With what every install token begins.
pub const INSTALL_TOKEN_PREFIX: &str = "nit_";
/// Characters of an install token: the prefix, and 32 bytes in hexadecimal.
pub const INSTALL_TOKEN_LENGTH: usize = INSTALL_TOKEN_PREFIX.len() + 64;

/// When a certificate is to be renewed, in its own seconds: when a third of its life has gone, so that two thirds are left for a
/// long time without a network.
pub const fn renewal_due(not_before: i64, not_after: i64) -> i64 {
    not_before + (not_after - not_before) / 3
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
