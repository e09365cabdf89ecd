//! The embedded broker: gate, sessions, router, behind the [`Broker`] trait.

use crate::allowance::{Ledger, Rates};
use crate::fence::FenceLimits;
use crate::registry::Registry;
use crate::router::{self, RouterHandle};
use crate::session::{self, SessionContext};
use crate::{Admission, Attached, Broker, Intake, SendError};
use async_trait::async_trait;
use bytes::Bytes;
use noderr_front::{Gate, GateLimits, TrustedProxies};
use noderr_protocol::{Down, MAX_ENVELOPE, Message as _, NodeId, Topics};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How to run the embedded broker.
pub struct EmbeddedConfig {
    /// Where nodes connect.
    pub listen: SocketAddr,
    /// Topic grammar.
    pub topics: Topics,
    /// The authority whose node certificates are accepted.
    pub root: CertificateDer<'static>,
    /// The certificate that nodes are shown.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Bounds on strangers.
    pub gate: GateLimits,
    /// Proxies that say whose connections they pass on.
    pub proxies: TrustedProxies,
    /// Bounds on sessions.
    pub fence: FenceLimits,
    /// Bounds on nodes.
    pub rates: Rates,
}

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or may not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate and key do not fit together.
    #[error("the broker's TLS configuration is refused")]
    Tls(#[from] rustls::Error),
    /// The authority's root cannot be used to verify nodes.
    #[error("the authority's root cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A broker inside this process.
pub struct EmbeddedBroker {
    context: Arc<SessionContext>,
    router: RouterHandle,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl EmbeddedBroker {
    /// Binds and serves until [`Self::stop`].
    pub async fn start(
        config: EmbeddedConfig,
        admission: Arc<dyn Admission>,
        up: Intake,
    ) -> Result<Self, StartError> {
        let tls = server_config(&config.root, config.certificate)?;
        let mut gate = Gate::bind(config.listen, Arc::new(tls), config.gate, config.proxies)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let context = Arc::new(SessionContext {
            topics: config.topics.clone(),
            limits: config.fence,
            ledger: Ledger::new(config.rates),
            max_packet: MAX_ENVELOPE + 512,
            registry: Registry::default(),
            admission,
            up,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (topics, front) = (config.topics.clone(), context.clone());
        let (router, keeper) = router::start(&config.topics, move |topic, payload| {
            if let Some((node, kind)) = topics.parse_down(topic) {
                front.registry.deliver(&node, (kind, payload));
            }
        });
        tasks.spawn(run_until(stop.clone(), keeper));
        let address = gate.address();
        let (sessions, all, ending) = (context.clone(), tasks.clone(), stop.clone());
        tasks.spawn(run_until(stop.clone(), async move {
            loop {
                let connection = gate.next().await;
                let context = sessions.clone();
                all.spawn(run_until(
                    ending.clone(),
                    async move { session::serve(connection, &context).await },
                ));
            }
        }));
        Ok(Self { context, router, address, stop, tasks })
    }

    /// The address on which the broker listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, ends every session and waits until nothing more reaches ingest.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn send(&self, node: &NodeId, message: &Down) -> Result<(), SendError> {
        let payload = Bytes::from(message.encode()?);
        let topic = self.context.topics.down(node, message.kind());
        if self.router.publish(topic, payload) { Ok(()) } else { Err(SendError::Unreachable) }
    }

    fn disconnect(&self, node: &NodeId) {
        self.context.registry.end(node);
    }

    fn charge(&self, node: &NodeId, bytes: usize) {
        self.context.ledger.charge(node, bytes);
    }

    fn is_well(&self) -> bool {
        self.router.is_up()
    }

    fn serves(&self, node: &NodeId) -> bool {
        self.context.registry.holds(node)
    }

    fn attached(&self) -> Option<Vec<Attached>> {
        Some(self.context.registry.attached())
    }
}

async fn run_until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

fn server_config(
    root: &CertificateDer<'static>,
    certificate: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, StartError> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    // A resumed session would skip the verifier, and with it every later decision about the certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
