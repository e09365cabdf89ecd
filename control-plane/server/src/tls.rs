//! This instance's own certificate, shown by the API and the broker alike and renewed while it runs.

use arc_swap::ArcSwap;
use noderr_ca::Authority;
use noderr_kernel::unix_now;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;

const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// The certificate of the moment.
#[derive(Debug)]
pub(crate) struct ServerCertificate(ArcSwap<CertifiedKey>);

impl ServerCertificate {
    /// Issues the first one.
    pub(crate) fn issue(authority: &Authority, names: &[String]) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self(ArcSwap::from(certified(authority, names)?))))
    }

    /// Issues the next one; handshakes from now on show it.
    pub(crate) fn renew(&self, authority: &Authority, names: &[String]) -> anyhow::Result<()> {
        self.0.store(certified(authority, names)?);
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(authority: &Authority, names: &[String]) -> anyhow::Result<Arc<CertifiedKey>> {
    let identity = authority.issue_server(names, unix_now(), VALIDITY)?;
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&identity.key)?;
    Ok(Arc::new(CertifiedKey::new(identity.chain, key)))
}

/// The API's TLS: no client certificates; people and nodes prove who they are in other ways there.
pub(crate) fn api_config(certificate: Arc<ServerCertificate>) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
