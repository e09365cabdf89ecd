//! Why a node can be in quarantine.

/// The reasons: the word that the API and the audit log show, and what the node tells people.
pub const REASONS: &[(&str, &str)] = &[
    ("registers-changed", "the box does not start as it did: its measured registers have changed"),
    ("attestation-refused", "the box's TPM gave an answer that proves nothing"),
    ("not-attested", "the box has not proven for too long that it starts as it did"),
    ("software-not-allowed", "this network no longer lets boxes without a TPM in"),
    ("ek-certificate-required", "this network now asks for a TPM with a vendor's certificate"),
    ("ek-not-listed", "this network now has a list of TPMs, and this box's is not on it"),
    ("tpm-barred", "the TPM of this box is barred from the network"),
];

/// What a node tells people about a reason.
pub(super) fn in_words(reason: &str) -> &str {
    REASONS.iter().find(|(name, _)| *name == reason).map_or(reason, |(_, words)| words)
}
