//! The papers: what the box shows, whom it trusts, and where the broker is. Papers from the control plane are checked whole
//! before they are used or kept: papers that turn out to be wrong only at the next start would strand the box.

use crate::enrolment::Enrolment;
use crate::trust::{TrustRoots, provider};
use crate::{EnrolmentError, KeyError, NodeKeys, TrustError, TrustedClock};
use noderr_protocol::{HostPort, ParseHostPortError};
use rustls::ClientConfig;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Papers that can be used.
#[derive(Debug, Clone)]
pub struct Papers {
    /// The papers as they are kept.
    pub enrolment: Enrolment,
    /// Whom the box trusts.
    pub roots: TrustRoots,
    /// Where the broker is.
    pub broker: HostPort,
    /// The certificate and its issuers, leaf first.
    chain: Vec<CertificateDer<'static>>,
}

/// Why papers are not taken.
#[derive(Debug, thiserror::Error)]
pub enum PapersError {
    /// The roots are unusable.
    #[error(transparent)]
    Roots(#[from] TrustError),
    /// The certificate is unusable.
    #[error(transparent)]
    Certificate(#[from] EnrolmentError),
    /// The key that the certificate must be for cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The broker's address is unusable.
    #[error("the broker's address: {0}")]
    Broker(#[from] ParseHostPortError),
    /// The papers are another's.
    #[error("the papers are of {found}, and this node is {expected}")]
    Other {
        /// Whose they are.
        found: String,
        /// Whose they must be.
        expected: String,
    },
}

impl Papers {
    /// Reads papers that this box has kept: everything in them can be used, which is not to say that it is valid now.
    pub fn of(enrolment: Enrolment) -> Result<Self, PapersError> {
        let roots = TrustRoots::from_pem(&enrolment.trust_roots)?;
        let broker = enrolment.broker.parse()?;
        let chain = chain(&enrolment.certificate_chain)?;
        enrolment.validity()?;
        Ok(Self { enrolment, roots, broker, chain })
    }

    /// Reads papers that this box has kept and that are wrong somewhere: whatever cannot be used is replaced, by the roots of
    /// the configuration, or by nothing. Good enough to ask for new papers.
    pub fn salvaged(enrolment: Enrolment, configured: Option<&TrustRoots>) -> Option<Self> {
        let roots = TrustRoots::from_pem(&enrolment.trust_roots).ok().or_else(|| configured.cloned())?;
        let broker = enrolment.broker.parse().unwrap_or_default();
        let chain = chain(&enrolment.certificate_chain).unwrap_or_default();
        Some(Self { enrolment, roots, broker, chain })
    }

    /// Checks papers that the control plane has just issued: the certificate is for this box's key and this node, leads to the
    /// roots, and is good now.
    pub fn issued(enrolment: Enrolment, keys: &NodeKeys, now_ms: i64) -> Result<Self, PapersError> {
        let papers = Self::of(enrolment)?;
        let (leaf, issuers) = papers.chain.split_first().ok_or_else(|| unusable("there is none"))?;
        papers.check_leaf(leaf, &keys.public_sec1()?)?;
        let now = u64::try_from(now_ms).map_err(|_| unusable("nothing was valid before 1970"))?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now));
        WebPkiClientVerifier::builder_with_provider(papers.roots.store.clone(), provider())
            .build()
            .map_err(|error| unusable(&error.to_string()))?
            .verify_client_cert(leaf, issuers, now)
            .map_err(|error| unusable(&error.to_string()))?;
        Ok(papers)
    }

    /// Checks that renewed papers are of the same node with the same kind of identity.
    pub fn succeed(&self, before: &Enrolment) -> Result<(), PapersError> {
        let name = |enrolment: &Enrolment| format!("{} ({})", enrolment.node, enrolment.kind);
        let (found, expected) = (name(&self.enrolment), name(before));
        if found == expected { Ok(()) } else { Err(PapersError::Other { found, expected }) }
    }

    /// The client configuration for mTLS with the broker. rustls signs inside poll: a discrete TPM takes tens of
    /// milliseconds, a dead TPM its whole deadline. So connect on a thread that may wait.
    pub fn client_config(&self, keys: &NodeKeys, clock: &TrustedClock) -> Result<ClientConfig, TrustError> {
        let shown = CertifiedKey::new(self.chain.clone(), crate::signing_key(keys));
        let mut config = ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots.store.clone())
            .with_client_cert_resolver(Arc::new(Shown(Arc::new(shown))));
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn check_leaf(&self, leaf: &CertificateDer<'_>, key: &[u8; 65]) -> Result<(), PapersError> {
        let parsed =
            Certificate::from_der(leaf).map_err(|error| unusable(&error.to_string()))?.tbs_certificate;
        if parsed.subject_public_key_info.subject_public_key.as_bytes() != Some(key) {
            return Err(unusable("it is for another key than this box's"));
        }
        let expected = self.enrolment.node.to_string();
        let attributes = parsed.subject.0.iter().flat_map(|name| name.0.iter());
        let names: Vec<_> = attributes
            .filter(|attribute| attribute.oid == COMMON_NAME)
            .filter_map(|name| str::from_utf8(name.value.value()).ok())
            .collect();
        if names == [expected.as_str()] {
            return Ok(());
        }
        Err(PapersError::Other { found: names.join(", "), expected })
    }
}

fn unusable(why: &str) -> PapersError {
    EnrolmentError(why.to_owned()).into()
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, PapersError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| unusable(&error.to_string()))?;
    if chain.is_empty() { Err(unusable("there is none in the chain")) } else { Ok(chain) }
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
