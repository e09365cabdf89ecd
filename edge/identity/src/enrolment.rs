//! What enrolment left behind: one file that says who the box is and whom it trusts. Holds no secret.

use atomic_write_file::AtomicWriteFile;
use noderr_protocol::{IdentityKind, NodeId, enrol::Enrolled};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The box's place in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Its name.
    pub node: NodeId,
    /// What the server decided its identity is.
    pub kind: IdentityKind,
    /// Its certificate, leaf first, PEM.
    pub certificate_chain: String,
    /// Whom it trusts, PEM.
    pub trust_roots: String,
    /// Host and port of the broker.
    pub broker: String,
    /// The next boot epoch must be above this.
    pub epoch_floor: u64,
}

/// Why the enrolment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The file system refused.
    #[error("cannot read or write {path}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold an enrolment.
    #[error("{path} is not an enrolment: {why}. Enrol again with a new install token", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The certificate is unusable.
    #[error("the node certificate is unusable: {0}")]
    Certificate(String),
}

impl From<Enrolled> for Enrolment {
    fn from(answer: Enrolled) -> Self {
        Self {
            node: answer.node,
            kind: answer.kind,
            certificate_chain: answer.certificate_chain,
            trust_roots: answer.trust_roots,
            broker: answer.broker,
            epoch_floor: answer.epoch_floor,
        }
    }
}

impl Enrolment {
    /// Reads the file; `None` where the box has not enrolled yet.
    pub fn load(path: &Path) -> Result<Option<Self>, EnrolmentError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EnrolmentError::Io { path: path.to_owned(), source }),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| EnrolmentError::Unreadable { path: path.to_owned(), why: error.to_string() })
    }

    /// Writes the file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), EnrolmentError> {
        let io = |source| EnrolmentError::Io { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| EnrolmentError::Unreadable { path: path.to_owned(), why: error.to_string() })?;
        let mut file = AtomicWriteFile::open(path).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.commit().map_err(io)
    }

    /// From when until when the node's certificate is valid, in seconds since the Unix epoch.
    pub fn validity(&self) -> Result<RangeInclusive<i64>, EnrolmentError> {
        self.leaf()
            .ok()
            .and_then(|leaf| crate::certificate_validity(&leaf))
            .ok_or_else(|| EnrolmentError::Certificate("its validity cannot be read".to_owned()))
    }

    fn leaf(&self) -> Result<CertificateDer<'static>, EnrolmentError> {
        CertificateDer::from_pem_slice(self.certificate_chain.as_bytes())
            .map_err(|error| EnrolmentError::Certificate(error.to_string()))
    }
}
