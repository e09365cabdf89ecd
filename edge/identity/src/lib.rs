//! Who the box is: TPM keys, software fallback, CSR, rustls signer, quotes, and the time it may believe.
//!
//! Private keys never leave their keeper: a TPM, or a 0600 file where the network allows that. This crate opens
//! no network connection; the exchange with the control plane is `noderr-link`'s.

mod clock;
mod enrolment;
mod key_error;
mod keys;
mod papers;
mod seal;
mod signing;
mod software;
pub mod tpm;
mod trust;

pub use clock::{InDoubt, LastSeen, TrustedClock};
pub use enrolment::{Enrolment, EnrolmentError};
pub use key_error::KeyError;
pub use keys::{NodeKeys, certificate_request};
pub use papers::{Papers, PapersError};
pub(crate) use signing::signing_key;
pub use software::SoftwareKey;
pub use tpm::{Tpm, TpmConfig, TpmError, TpmStats};
pub use trust::{TrustError, TrustRoots, certificate_validity};
