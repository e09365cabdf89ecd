//! Issues, renews and revokes node certificates, and the control plane's own.
//!
//! Everything in a certificate but the public key is decided here; nothing is copied from a request. Deciding
//! *whether* to issue is the server's work; this crate decides *what* a certificate says.

mod authority;
mod csr;
mod hsm;
mod key;
mod subject;

#[cfg(test)]
mod tests;

pub use authority::{Authority, IssueError, Issued, OpenError, ServerIdentity};
pub use csr::{Csr, CsrError, check_signature};
pub use hsm::HsmCaKey;
pub use key::{CaKey, FileKey};
pub use subject::{NodeCertificate, NodeSubject, SubjectError};
