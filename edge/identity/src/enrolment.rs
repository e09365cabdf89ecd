//! What enrolment left behind: one file that says who the box is and whom it trusts. Holds no secret.

use noderr_part::Document;
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
    /// The root of the network's releases that came with these papers, while the exchange is fresh. Papers on the disk have none: others
    /// can write to a disk.
    #[serde(skip)]
    pub release_root: Option<String>,
}

/// Why the enrolment cannot be used: the certificate in it is unusable.
#[derive(Debug, thiserror::Error)]
#[error("the node certificate is unusable: {0}")]
pub struct EnrolmentError(pub(crate) String);

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
            release_root: answer.release_root,
        }
    }
}

impl Enrolment {
    /// From when until when the node's certificate is valid, in seconds since the Unix epoch.
    pub fn validity(&self) -> Result<RangeInclusive<i64>, EnrolmentError> {
        self.leaf()
            .ok()
            .and_then(|leaf| crate::certificate_validity(&leaf))
            .ok_or_else(|| EnrolmentError("its validity cannot be read".to_owned()))
    }

    fn leaf(&self) -> Result<CertificateDer<'static>, EnrolmentError> {
        CertificateDer::from_pem_slice(self.certificate_chain.as_bytes())
            .map_err(|error| EnrolmentError(error.to_string()))
    }
}
