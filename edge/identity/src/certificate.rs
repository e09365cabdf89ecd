//! One rustls adapter for MQTT and HTTPS: the node's certificate, its key behind [`NodeKeys`].

use crate::{EnrolmentError, NodeKeys, TrustError, TrustRoots, TrustedClock};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The client configuration for mTLS with the broker. rustls signs inside poll: a discrete TPM takes tens of
/// milliseconds, a dead TPM its whole deadline. So connect on a thread that may wait.
pub fn client_config(
    roots: &TrustRoots,
    clock: &TrustedClock,
    resolver: Arc<CertificateResolver>,
) -> Result<ClientConfig, TrustError> {
    let mut config = ClientConfig::builder_with_details(crate::trust::provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots.store.clone())
        .with_client_cert_resolver(resolver);
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Holds the current certificate, so that a renewal needs no new configuration.
#[derive(Debug)]
pub struct CertificateResolver {
    current: RwLock<Arc<CertifiedKey>>,
}

impl CertificateResolver {
    /// Shows `chain_pem`, whose leaf certifies the TLS key in `keys`.
    pub fn new(keys: &NodeKeys, chain_pem: &str) -> Result<Arc<Self>, EnrolmentError> {
        Ok(Arc::new(Self { current: RwLock::new(certified(keys, chain_pem)?) }))
    }

    /// Shows another chain from the next handshake on.
    pub fn replace(&self, keys: &NodeKeys, chain_pem: &str) -> Result<(), EnrolmentError> {
        let renewed = certified(keys, chain_pem)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

fn certified(keys: &NodeKeys, chain_pem: &str) -> Result<Arc<CertifiedKey>, EnrolmentError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| EnrolmentError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(EnrolmentError::Certificate("no certificate in the chain".to_owned()));
    }
    Ok(Arc::new(CertifiedKey::new(chain, Arc::new(TlsSigningKey(keys.clone())))))
}

impl ResolvesClientCert for CertificateResolver {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

struct TlsSigningKey(NodeKeys);

impl fmt::Debug for TlsSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsSigningKey({})", self.0.kind())
    }
}

impl SigningKey for TlsSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(TlsSigner(self.0.clone())) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

struct TlsSigner(NodeKeys);

impl fmt::Debug for TlsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSigner")
    }
}

impl Signer for TlsSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
