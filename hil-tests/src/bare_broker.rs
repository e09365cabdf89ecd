//! The embedded broker with nothing behind it: for tests and benches that stand in the place of ingest.

use async_trait::async_trait;
use noderr_broker::{
    Admission, Denied, EmbeddedBroker, EmbeddedConfig, FenceLimits, Intake, IntakeQueue, Rates,
};
use noderr_ca::{Authority, Csr, FileKey, NodeCertificate, NodeSubject};
use noderr_front::GateLimits;
use noderr_identity::{NodeKeys, certificate_request};
use noderr_protocol::{NodeId, Topics};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lets every node in that has a certificate of the network.
struct Everybody;

#[async_trait]
impl Admission for Everybody {
    async fn admit(&self, _: &NodeCertificate) -> Result<(), Denied> {
        Ok(())
    }
}

/// Starts a broker of the authority in this folder; what nodes send arrives at the other end.
pub async fn bare_broker(authority: &Path, rates: Rates) -> anyhow::Result<(EmbeddedBroker, IntakeQueue)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
    let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
    let authority = Authority::open(authority, "demo", key, now)?;
    let server = authority.issue_server(&["localhost".to_owned()], now, Duration::from_secs(86_400))?;
    let signer = rustls::crypto::ring::sign::any_ecdsa_type(&server.key)?;
    let (up, events) = Intake::for_one();
    let config = EmbeddedConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        topics: Topics::default(),
        root: authority.root().clone(),
        certificate: Arc::new(SingleCertAndKey::from(CertifiedKey::new(server.chain, signer))),
        gate: GateLimits::default(),
        proxies: Default::default(),
        fence: FenceLimits::default(),
        rates,
    };
    Ok((EmbeddedBroker::start(config, Arc::new(Everybody), up).await?, events))
}

/// Papers for a node's own keys, of the authority in this folder: for a real link before a broker without a control plane.
pub fn papers_for(
    authority: &Path,
    keys: &NodeKeys,
    broker: SocketAddr,
) -> anyhow::Result<noderr_identity::Papers> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
    let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
    let authority = Authority::open(authority, "demo", key, now)?;
    let (node, kind) = (NodeId::from_bytes(rand::random()), keys.kind());
    let request = Csr::parse(&certificate_request(keys)?)?;
    let issued =
        authority.issue_node(NodeSubject { node, kind }, &request, now, Duration::from_secs(86_400))?;
    let enrolment = noderr_identity::Enrolment {
        node,
        kind,
        certificate_chain: issued.chain_pem,
        trust_roots: authority.root_pem().to_owned(),
        broker: format!("localhost:{}", broker.port()),
        epoch_floor: 0,
        release_root: None,
    };
    Ok(noderr_identity::Papers::issued(enrolment, keys, now * 1000)?)
}
