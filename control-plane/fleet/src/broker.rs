//! Starts the configured broker: the embedded broker, or a client of an external cluster.

use crate::nodes::DatabaseAdmission;
use crate::settings::ExternalSettings;
use crate::shares;
use crate::state::Fleet;
use anyhow::ensure;
use noderr_broker::{
    Broker, EmbeddedBroker, EmbeddedConfig, ExternalBroker, ExternalConfig, FenceLimits, Intake, Shares,
};
use noderr_ca::Authority;
use noderr_front::{GateLimits, TrustedProxies};
use noderr_kernel::unix_now;
use rustls::RootCertStore;
use rustls::server::ResolvesServerCert;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Starts the broker. Returns the embedded broker, if that is configured, because it must be stopped.
pub async fn start_broker(
    fleet: &Arc<Fleet>,
    certificate: Arc<dyn ResolvesServerCert>,
    up: Intake,
) -> anyhow::Result<Option<Arc<EmbeddedBroker>>> {
    let (broker, embedded): (Arc<dyn Broker>, _) = match &fleet.settings.broker.external {
        None => {
            let embedded = Arc::new(embedded(fleet, certificate, up).await?);
            (embedded.clone(), Some(embedded))
        }
        Some(external) => (Arc::new(self::external(fleet, external, up)?), None),
    };
    ensure!(fleet.broker.set(broker).is_ok(), "the broker is started once");
    Ok(embedded)
}

async fn embedded(
    fleet: &Arc<Fleet>,
    certificate: Arc<dyn ResolvesServerCert>,
    up: Intake,
) -> anyhow::Result<EmbeddedBroker> {
    let settings = &fleet.settings.broker;
    let config = EmbeddedConfig {
        listen: settings.listen,
        topics: settings.topics()?,
        root: fleet.authority.root().clone(),
        certificate,
        gate: GateLimits::default(),
        proxies: TrustedProxies::new(settings.trusted_proxies.clone()),
        fence: FenceLimits::default(),
        rates: settings.rates(),
    };
    let admission = Arc::new(DatabaseAdmission(fleet.kernel.database.clone()));
    Ok(EmbeddedBroker::start(config, admission, up).await?)
}

fn external(fleet: &Arc<Fleet>, settings: &ExternalSettings, up: Intake) -> anyhow::Result<ExternalBroker> {
    let (authority, roots) = (fleet.authority.clone(), settings.roots.clone());
    let shares = Arc::new(Shares::default());
    let tls = move || Ok(Arc::new(client_tls(&authority, roots.as_deref())?));
    let config = ExternalConfig {
        host: settings.host.clone(),
        port: settings.port,
        topics: fleet.settings.broker.topics()?,
        shares: shares.clone(),
        client_id: format!("noderr-control-{}", fleet.kernel.instance.simple()),
        tls: Box::new(tls),
        session: DAY,
    };
    let broker = ExternalBroker::start(config, up);
    tokio::spawn(shares::keep(fleet.clone(), shares));
    Ok(broker)
}

fn client_tls(authority: &Authority, roots: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.add(authority.root().clone())?,
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path)? {
                store.add(certificate?)?;
            }
        }
    }
    let identity = authority.issue_service("noderr-control", unix_now(), 2 * DAY)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_client_auth_cert(identity.chain, identity.key)?)
}
