//! Issues, renews and revokes node certificates, and the control plane's own.
//!
//! Everything in a certificate but the public key is decided here; nothing is copied from a request. Deciding
//! *whether* to issue is the server's work; this crate decides *what* a certificate says.

mod authority;
mod csr;
mod key;
mod pkcs11;
mod subject;

#[cfg(test)]
mod tests;

pub use authority::{Authority, IssueError, Issued, OpenError, ServerIdentity};
pub use csr::{Csr, CsrError, check_signature};
pub use key::{CaKey, FileKey};
pub use pkcs11::{Pkcs11Config, Pkcs11Error, Pkcs11Key};
pub use subject::{NodeCertificate, NodeSubject, SubjectError};
