//! Every reason for which evidence is refused. The code, which is the
//! name in kebab case, is what clients and tests match on; it never changes.

/// Why evidence does not prove what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::VariantNames, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Refusal {
    /// Bytes that are not the structure they should be.
    #[error("{what} is malformed or truncated")]
    Malformed {
        /// The structure.
        what: &'static str,
    },
    /// An algorithm this server does not accept.
    #[error("{what} uses an algorithm that is not accepted here")]
    Algorithm {
        /// The structure.
        what: &'static str,
    },
    /// The endorsement certificate does not lead to a configured vendor root.
    #[error("the endorsement certificate does not lead to a configured vendor root: {0}")]
    EkChain(String),
    /// The certificate is of another endorsement key.
    #[error("the endorsement certificate is of another key than the one presented")]
    EkMismatch,
    /// The endorsement key has the wrong attributes.
    #[error("the endorsement key is not a restricted decryption key fixed to its TPM")]
    EkAttributes,
    /// The attestation key has the wrong attributes.
    #[error("the attestation key is not a restricted signing key made in and fixed to its TPM")]
    AkAttributes,
    /// The TLS key has the wrong attributes.
    #[error("the TLS key is not an unrestricted signing key made in and fixed to its TPM")]
    TlsAttributes,
    /// The attestation key was presented as the TLS key.
    #[error("the attestation key was presented as the TLS key")]
    AkAsTlsKey,
    /// The result key has the wrong attributes, or is the attestation key or the TLS key.
    #[error("the result key is not an unrestricted signing key of its own, made in and fixed to its TPM")]
    ResultKey,
    /// The signature is not by the attestation key over these bytes.
    #[error("the signature of the {what} is not by the attestation key")]
    Signature {
        /// What was signed.
        what: &'static str,
    },
    /// The structure was not made inside a TPM, or answers another question.
    #[error("the {what} is not of the expected kind")]
    NotOfTpm {
        /// The structure.
        what: &'static str,
    },
    /// The structure was signed over another nonce.
    #[error("the {what} answers another challenge")]
    Nonce {
        /// The structure.
        what: &'static str,
    },
    /// The quoted registers are not the registers that were asked for.
    #[error("the quote covers other registers than were asked for")]
    PcrSelection,
    /// The register values do not hash to what was quoted.
    #[error("the register values are not those that were quoted")]
    PcrDigest,
    /// The certification is of another key.
    #[error("the certification is of another key than the one presented")]
    CertifiedName,
    /// The CSR asks for a key that was not certified.
    #[error("the certificate request is for another key than the certified TLS key")]
    CsrKey,
}

impl Refusal {
    /// Every code there is.
    pub const CODES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// A stable name for clients, metrics and tests.
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_they_always_were() {
        let known = "malformed algorithm ek-chain ek-mismatch ek-attributes ak-attributes tls-attributes ak-as-tls-key \
                     result-key signature not-of-tpm nonce pcr-selection pcr-digest certified-name csr-key";
        assert_eq!(Refusal::CODES, known.split(' ').collect::<Vec<_>>());
        assert_eq!(Refusal::AkAsTlsKey.code(), "ak-as-tls-key");
    }
}
