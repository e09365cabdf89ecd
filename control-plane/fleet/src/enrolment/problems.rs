//! The kinds of problems for which an enrolment or a renewal is refused.

use noderr_attestation::Refusal;
use noderr_kernel::{Kind, Problem};

/// Every kind of problem of this feature.
pub(super) const ALL: &[Kind] = &{
    let mut all = [INSTALL_TOKEN; OWN.len() + Refusal::CODES.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < OWN.len() { OWN[index] } else { evidence(Refusal::CODES[index - OWN.len()]) };
        index += 1;
    }
    all
};

/// Those that are not about the TPM's evidence.
const OWN: [Kind; 16] = [
    INSTALL_TOKEN,
    TOO_MANY_ATTEMPTS,
    OTHER_TPM,
    TPM_BARRED,
    EK_ALGORITHM,
    TPM_IN_USE,
    EK_CERTIFICATE_REQUIRED,
    EK_NOT_LISTED,
    SOFTWARE_NOT_ALLOWED,
    KNOWN_WITH_TPM,
    SESSION,
    CSR,
    PROOF,
    NOT_ENROLLED,
    POSSESSION,
    TOO_MANY_RENEWALS,
];

/// The refusal of an install token, which does not tell a stranger why the token is of no use.
pub(super) const INSTALL_TOKEN: Kind =
    Kind::new(403, "install-token", "the install token is unknown, used, expired, or its node may not enrol");
pub(super) const TOO_MANY_ATTEMPTS: Kind = Kind::new(
    429,
    "too-many-attempts",
    "this install token was tried too often within an hour; wait, or ask for a new one",
);
pub(super) const OTHER_TPM: Kind =
    Kind::new(403, "other-tpm", "this node id is bound to another TPM; an admin can unbind it");
pub(super) const TPM_IN_USE: Kind = Kind::new(
    409,
    "tpm-in-use",
    "this TPM stands behind another node already, and one box is one node: an admin can revoke or unbind that node",
);
pub(super) const TPM_BARRED: Kind =
    Kind::new(403, "tpm-barred", "this TPM is barred from the network; an admin can let it in again");
pub(super) const EK_ALGORITHM: Kind = Kind::new(
    403,
    "ek-algorithm",
    "this network asks for the other kind of endorsement key (enrolment.ek_algorithm); one TPM is one node",
);
pub(super) const EK_CERTIFICATE_REQUIRED: Kind = Kind::new(
    403,
    "ek-certificate-required",
    "this network asks for a TPM with a vendor's endorsement certificate; this one has none",
);
pub(super) const EK_NOT_LISTED: Kind =
    Kind::new(403, "ek-not-listed", "this TPM is not on this network's list (enrolment.allowed_eks)");
pub(super) const SOFTWARE_NOT_ALLOWED: Kind = Kind::new(
    403,
    "software-not-allowed",
    "this network does not let boxes without a TPM in (enrolment.allow_software)",
);
pub(super) const KNOWN_WITH_TPM: Kind = Kind::new(
    403,
    "known-with-tpm",
    "this node is known with a TPM and does not fall back to a software key; an admin can unbind it",
);
pub(super) const SESSION: Kind =
    Kind::new(403, "session", "the session is unknown, expired or was answered already; begin again");
pub(super) const CSR: Kind =
    Kind::new(403, "csr", "the certificate request cannot be read, or its key is not accepted");
pub(super) const PROOF: Kind = Kind::new(403, "proof", "the proof does not fit how the exchange was begun");
pub(super) const NOT_ENROLLED: Kind =
    Kind::new(403, "not-enrolled", "this node is not enrolled, it is revoked, or its operator is suspended");
pub(super) const POSSESSION: Kind =
    Kind::new(403, "possession", "the proof of possession is not by the node's key");
pub(super) const TOO_MANY_RENEWALS: Kind = Kind::new(
    429,
    "too-many-renewals",
    "this node has renewed its certificate too often; the certificate that it has is valid for much longer: wait an hour",
);

const fn evidence(code: &'static str) -> Kind {
    Kind::new(403, code, "the TPM's evidence does not prove what it claims; the detail says where")
}

/// The problem of refused evidence. Its name is the code of the refusal, so that people can look the code up.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    evidence(refusal.code()).because(refusal.to_string())
}
