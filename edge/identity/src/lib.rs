//! Who the box is: TPM keys, software fallback, CSR, rustls signer, quotes, and the time it may believe.
//!
//! Private keys never leave their keeper: a TPM, or a 0600 file where the network allows that. This crate opens
//! no network connection; the exchange with the control plane is `noderr-link`'s.

mod certificate;
mod clock;
mod enrolment;
mod key_error;
mod keys;
mod software;
pub mod tpm;
mod trust;

pub use certificate::{CertificateResolver, client_config};
pub use clock::{Backwards, LastSeen, TrustedClock};
pub use enrolment::{Enrolment, EnrolmentError};
pub use key_error::KeyError;
pub use keys::{NodeKeys, certificate_request};
pub use software::SoftwareKey;
pub use tpm::{Tpm, TpmConfig, TpmError, TpmStats};
pub use trust::{TrustError, TrustRoots, certificate_validity};
