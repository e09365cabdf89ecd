//! Whom the box trusts: the network's roots, and how the box learns the time without leaning on its own clock.

use crate::TrustedClock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// The network's certificate authorities.
#[derive(Debug, Clone)]
pub struct TrustRoots {
    pub(crate) store: Arc<RootCertStore>,
    pem: Arc<str>,
}

/// Why the trust roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or no certificate in it.
    #[error("the trust roots hold no usable certificate: {0}")]
    Roots(String),
    /// rustls refused.
    #[error("the TLS configuration is refused: {0}")]
    Tls(#[from] rustls::Error),
}

impl TrustRoots {
    /// Reads one or more PEM certificates.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| TrustError::Roots(error.to_string()))?;
            store.add(certificate).map_err(|error| TrustError::Roots(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(TrustError::Roots("no certificate found".to_owned()));
        }
        Ok(Self { store: Arc::new(store), pem: pem.into() })
    }

    /// These and others, for what need not be trusted, such as mirrors.
    pub fn and(&self, pem: &str) -> Result<Self, TrustError> {
        Self::from_pem(&format!("{}\n{pem}", self.pem))
    }

    /// The certificates as they were read, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The configuration for ordinary calls: the server's certificate must be valid at the time the box
    /// believes.
    pub fn client_config(&self, clock: &TrustedClock) -> Result<ClientConfig, TrustError> {
        Ok(ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.store.clone())
            .with_no_client_auth())
    }

    /// The configuration for asking the time and nothing else: chain and name are checked in full, but at the
    /// time the server's own certificate begins, because the box's clock may be wrong. The caller must hold
    /// the answer against [`certificate_validity`]: a certificate can vouch only for times at which it is
    /// valid itself.
    pub fn time_config(&self) -> Result<ClientConfig, TrustError> {
        let inner = self.server_verifier()?;
        Ok(ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AtItsBeginning(inner)))
            .with_no_client_auth())
    }

    /// Checks a server's chain and name against these roots.
    pub fn server_verifier(&self) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
        WebPkiServerVerifier::builder_with_provider(self.store.clone(), provider())
            .build()
            .map_err(|error| TrustError::Roots(error.to_string()))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// From when until when a certificate is valid, in seconds since the Unix epoch.
pub fn certificate_validity(der: &[u8]) -> Option<RangeInclusive<i64>> {
    let validity = Certificate::from_der(der).ok()?.tbs_certificate.validity;
    let second = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some(second(validity.not_before)?..=second(validity.not_after)?)
}

#[derive(Debug)]
struct AtItsBeginning(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AtItsBeginning {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let begins = certificate_validity(end_entity)
            .and_then(|validity| u64::try_from(*validity.start()).ok())
            .ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(begins));
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, then)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
