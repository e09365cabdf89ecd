//! The instance's own certificate, which the API and the broker show, and which is renewed while the instance
//! runs.

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::http::Uri;
use noderr_ca::Authority;
use noderr_fleet::BrokerSettings;
use noderr_kernel::{HttpSettings, unix_now};
use noderr_protocol::HostPort;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;

const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// The current certificate.
#[derive(Debug)]
pub(crate) struct ServerCertificate(ArcSwap<CertifiedKey>);

impl ServerCertificate {
    /// Issues the first certificate.
    pub(crate) fn issue(authority: &Authority, names: &[String]) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self(ArcSwap::from(certified(authority, names)?))))
    }

    /// Issues the next certificate, which all later handshakes show.
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

/// The TLS configuration of the API, without client certificates: people and nodes identify themselves in
/// other ways.
pub(crate) fn api_config(certificate: Arc<ServerCertificate>) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Refuses addresses that the server's certificate does not name: nobody who checks it would come in there.
pub(crate) fn check_names(http: &HttpSettings, broker: &BrokerSettings) -> anyhow::Result<()> {
    let url: Uri = http.public_url.parse().context("http.public_url")?;
    let of_api = url.host().context("http.public_url names no host")?.trim_matches(['[', ']']).to_owned();
    let mut wanted = vec![("http.public_url", of_api)];
    // An external broker has a certificate of its own.
    if broker.external.is_none() {
        let address: HostPort = broker.address_of_nodes().parse().context("broker.public_address")?;
        wanted.push(("broker.public_address", address.host));
    }
    for (setting, host) in wanted {
        anyhow::ensure!(
            http.names.iter().any(|name| name.eq_ignore_ascii_case(&host)),
            "{setting} sends people and nodes to `{host}`, which the certificate does not name; add it to http.names"
        );
    }
    Ok(())
}
