//! The key that signs a node's results: the node proves at enrolment and at every renewal that it holds the
//! key.

use super::problems::{PROOF, refused};
use noderr_attestation::AttestationKey;
use noderr_ca::check_signature;
use noderr_kernel::Problem;
use noderr_protocol::enrol::ResultKey;

/// Checks the proof and returns the key as an uncompressed SEC1 point. `ak` is the attestation key of a node
/// with a TPM, `tls_sec1` the TLS key: a signature by one key must never pass for a signature by another.
pub(super) fn check(
    claimed: &ResultKey,
    ak: Option<&AttestationKey>,
    tls_sec1: &[u8],
    binding: &[u8; 32],
) -> Result<Vec<u8>, Problem> {
    match (ak, &claimed.certify) {
        (Some(ak), Some(certify)) => noderr_attestation::ResultKey::parse(&claimed.public, ak, tls_sec1)
            .and_then(|key| {
                ak.check_certify(certify, &claimed.signature, binding, key.name())?;
                Ok(key.sec1())
            })
            .map_err(|refusal| refused(&refusal)),
        (Some(_), None) => Err(PROOF.because("the key of results is not certified by the attestation key")),
        (None, Some(_)) => {
            Err(PROOF.because("a node without a TPM has nothing to certify its key of results with"))
        }
        (None, None) if *claimed.public == *tls_sec1 => {
            Err(PROOF.because("the key of results is the key of the certificate"))
        }
        (None, None) => {
            check_signature(&claimed.public, binding, &claimed.signature)
                .map_err(|_| PROOF.because("the key of results has not signed this exchange"))?;
            Ok(claimed.public.to_vec())
        }
    }
}
