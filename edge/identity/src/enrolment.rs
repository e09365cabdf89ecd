//! What enrolment left behind: one file that says who the box is and whom it trusts. Holds no secret.

use noderr_part::{Document, DocumentError, Folder};
use noderr_protocol::{IdentityKind, NodeId, enrol::Enrolled};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The box's place in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The id of the node.
    pub node: NodeId,
    /// The kind of identity, as the server decided.
    pub kind: IdentityKind,
    /// The node's certificate and its issuer, leaf first, PEM.
    pub certificate_chain: String,
    /// The certificates that the box trusts, PEM.
    pub trust_roots: String,
    /// Host and port of the broker.
    pub broker: String,
    /// The next boot epoch must be above this.
    pub epoch_floor: u64,
}

/// Why the enrolment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The file cannot be read or written.
    #[error("{0}. If it is damaged, move it away and enrol again with a new install token")]
    Document(#[from] DocumentError),
    /// The certificate is unusable.
    #[error("the node certificate is unusable: {0}")]
    Certificate(String),
}

impl Document for Enrolment {
    const FILE: &str = "enrolment.json";
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
    /// Reads the enrolment; `None` where the box has not enrolled yet.
    pub fn load(folder: &Folder) -> Result<Option<Self>, EnrolmentError> {
        Ok(folder.read()?)
    }

    /// Writes the enrolment, whole or not at all.
    pub fn save(&self, folder: &Folder) -> Result<(), EnrolmentError> {
        Ok(folder.write(self)?)
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
