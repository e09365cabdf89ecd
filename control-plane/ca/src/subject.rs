//! The subject of a node certificate, written and read back: CN = O = node id, OU = kind of identity.

use noderr_protocol::{IdentityKind, NodeId};
use rcgen::{DistinguishedName, DnType};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

/// The subject of a node certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSubject {
    /// The node.
    pub node: NodeId,
    /// The kind of identity behind the node's key.
    pub kind: IdentityKind,
}

/// Why a certificate does not name a node.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Not a certificate at all.
    #[error("not an X.509 certificate")]
    Malformed,
    /// A certificate of something else.
    #[error("the certificate's subject is not that of a node")]
    NotANode,
}

impl NodeSubject {
    pub(crate) fn to_name(self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, self.node.to_string());
        name.push(DnType::OrganizationName, self.node.to_string());
        name.push(DnType::OrganizationalUnitName, self.kind.as_str());
        name
    }

    fn of_name(name: &X509Name<'_>) -> Option<Self> {
        let common = name.iter_common_name().next()?.as_str().ok()?;
        let organisation = name.iter_organization().next()?.as_str().ok()?;
        let unit = name.iter_organizational_unit().next()?.as_str().ok()?;
        (common == organisation).then_some(())?;
        Some(Self { node: common.parse().ok()?, kind: unit.parse().ok()? })
    }
}

/// What the rest of the system wants to know of a node's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The subject.
    pub subject: NodeSubject,
    /// The serial number.
    pub serial: [u8; 16],
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
}

impl NodeCertificate {
    /// Reads a certificate whose chain was checked already.
    pub fn read(der: &[u8]) -> Result<Self, SubjectError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| SubjectError::Malformed)?;
        let subject = NodeSubject::of_name(certificate.subject()).ok_or(SubjectError::NotANode)?;
        let serial = certificate.raw_serial().try_into().map_err(|_| SubjectError::NotANode)?;
        Ok(Self { subject, serial, not_after: certificate.validity().not_after.timestamp() })
    }

    /// How long the certificate is still valid, by this machine's clock.
    pub fn left(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(u64::try_from(self.not_after).unwrap_or_default()).saturating_sub(now)
    }
}
