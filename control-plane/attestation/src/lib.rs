//! The server's side of attestation in pure Rust: TPM structures, MakeCredential, quote and certify checks, EK chain.
//!
//! The crate decides whether bytes prove what they claim, and has no clock, no database and no network of its
//! own. Every refusal is a [`Refusal`] that names what was expected. An enrolment uses the types in this
//! order:
//! [`VendorRoots::check`] → [`EndorsementKey`], [`AttestationKey`], [`TlsKey`] → [`make_credential`] →
//! [`AttestationKey::check_quote`] and [`AttestationKey::check_certify`].

mod credential;
mod ek;
mod event_log;
mod event_words;
mod keys;
mod public;
mod quote;
mod reader;
mod refusal;

pub use credential::{Credential, make_credential};
pub use ek::{EkCertificate, VendorRoots};
pub use event_log::{Event, EventLog, LogRefusal, write_event_log};
pub use keys::{AttestationKey, EndorsementKey, ResultKey, TlsKey};
pub use public::{Name, PublicArea};
pub use quote::PcrSet;
pub use refusal::Refusal;
pub use rustls_pki_types::UnixTime;

/// The largest structure that is parsed, in bytes; TPM structures are far smaller.
const MAX_STRUCTURE: usize = 4096;
