//! A broker with an authority of its own, and clients that may say anything.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use noderr_broker::{
    Admission, Broker as _, Denied, EmbeddedBroker, EmbeddedConfig, FenceLimits, Intake, IntakeQueue, Rates,
    UpEvent, UpMessage,
};
use noderr_ca::{Authority, Csr, FileKey, NodeCertificate, NodeSubject};
use noderr_front::GateLimits;
use noderr_protocol::{DesiredState, Down, IdentityKind, NodeId, Topics, UpKind};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use rumqttc::mqttbytes::{Error as PacketError, QoS};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The first few publications of each node, as ingest would get them.
type Heard = Arc<Mutex<HashMap<NodeId, Vec<Bytes>>>>;

pub(crate) struct World {
    pub(crate) broker: EmbeddedBroker,
    heard: Heard,
    _listening: tokio_util::task::AbortOnDropHandle<()>,
    pub(crate) topics: Topics,
    authority: Authority,
    revoked: Arc<Mutex<Vec<NodeId>>>,
    _folder: tempfile::TempDir,
}

struct Book(Arc<Mutex<Vec<NodeId>>>);

#[async_trait]
impl Admission for Book {
    async fn admit(&self, peer: &NodeCertificate) -> Result<(), Denied> {
        if self.0.lock().unwrap().contains(&peer.subject.node) { Err(Denied::NotAdmitted) } else { Ok(()) }
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

impl World {
    pub(crate) async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = Arc::new(FileKey::open_or_create(&folder.path().join("ca.key")).unwrap());
        let authority = Authority::open(folder.path(), "test", key, now()).unwrap();
        let server = authority.issue_server(&["localhost".to_owned()], now(), YEAR).unwrap();
        let signer = rustls::crypto::ring::sign::any_ecdsa_type(&server.key).unwrap();
        let revoked = Arc::new(Mutex::new(Vec::new()));
        let (up, events) = Intake::for_one();
        let heard = Heard::default();
        let listening = tokio::spawn(listen(events, heard.clone()));
        let topics = Topics::default();
        let config = EmbeddedConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            topics: topics.clone(),
            root: authority.root().clone(),
            certificate: Arc::new(SingleCertAndKey::from(CertifiedKey::new(server.chain, signer))),
            gate: GateLimits::default(),
            proxies: Default::default(),
            fence: FenceLimits::default(),
            rates: Rates::default(),
        };
        let broker = EmbeddedBroker::start(config, Arc::new(Book(revoked.clone())), up).await.unwrap();
        Self {
            broker,
            heard,
            _listening: tokio_util::task::AbortOnDropHandle::new(listening),
            topics,
            authority,
            revoked,
            _folder: folder,
        }
    }

    pub(crate) fn revoke(&self, node: NodeId) {
        self.revoked.lock().unwrap().push(node);
        self.broker.disconnect(&node);
    }

    /// The publications of a node that got through, the first few of them.
    pub(crate) fn heard_of(&self, node: &NodeId) -> Vec<Bytes> {
        self.heard.lock().unwrap().get(node).cloned().unwrap_or_default()
    }

    /// Connects over TLS with a certificate of `node`, and sends nothing yet.
    pub(crate) async fn dial(&self, node: NodeId) -> Client {
        self.try_dial(node).await.unwrap()
    }

    pub(crate) async fn try_dial(&self, node: NodeId) -> std::io::Result<Client> {
        self.try_dial_at(node, self, YEAR).await
    }

    /// Connects with a certificate of this world's authority to another world's broker, which the client
    /// trusts.
    pub(crate) async fn try_dial_at(
        &self,
        node: NodeId,
        at: &Self,
        life: Duration,
    ) -> std::io::Result<Client> {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let csr = Csr::parse(request.der()).unwrap();
        assert_eq!(csr.key_sec1(), key.der_bytes());
        let subject = NodeSubject { node, kind: IdentityKind::Tpm };
        let issued = self.authority.issue_node(subject, &csr, now(), life).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(at.authority.root().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![issued.der],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let tcp = TcpStream::connect(at.broker.address()).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        Ok(Client { stream, input: BytesMut::new() })
    }

    /// Connects, sends CONNECT, and is welcomed.
    pub(crate) async fn connected(&self, node: NodeId) -> Client {
        self.welcomed(node, self.dial(node).await).await
    }

    pub(crate) async fn welcomed(&self, node: NodeId, mut client: Client) -> Client {
        client.send(&Packet::Connect(Connect::new(node.to_string()))).await;
        assert!(matches!(client.next().await, Some(Packet::ConnAck(_))));
        client
    }

    /// Hands a message to the router, which may be starting, or may just have been replaced.
    pub(crate) async fn send(&self, node: &NodeId, message: &Down) {
        for _ in 0..50 {
            if self.broker.send(node, message).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the router does not come up");
    }

    /// Checks that an honest node can connect, subscribe, publish and be heard, and that messages reach it.
    pub(crate) async fn honest_node_is_served(&self) {
        let node = NodeId::from_bytes(rand::random());
        let mut client = self.connected(node).await;
        let filter = self.topics.down_filter(&node);
        client.send(&Packet::Subscribe(Subscribe::new(filter, QoS::AtLeastOnce))).await;
        assert!(matches!(client.next().await, Some(Packet::SubAck(_))));
        let payload = node.as_bytes().to_vec();
        client.publish(&self.topics.up(&node, UpKind::Heartbeat), QoS::AtLeastOnce, payload.clone()).await;
        let heard = tokio::time::timeout(SOON, async {
            while self.heard_of(&node).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        heard.await.expect("an honest node is heard");
        assert_eq!(self.heard_of(&node), [payload]);
        assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
        let state = DesiredState { version: 9, ..DesiredState::default() };
        self.send(&node, &Down::DesiredState(state)).await;
        assert!(matches!(client.next().await, Some(Packet::Publish(_))), "an honest node hears");
    }
}

async fn listen(mut events: IntakeQueue, heard: Heard) {
    while let Some(event) = events.recv().await {
        if let UpEvent::Message(UpMessage { node, payload, .. }) = event {
            let mut heard = heard.lock().unwrap();
            let of_node = heard.entry(node).or_default();
            if of_node.len() < 10 {
                of_node.push(payload);
            }
        }
    }
}

pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
}

impl Client {
    pub(crate) async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, 1 << 28).unwrap();
        self.send_raw(&bytes).await;
    }

    /// Sends bytes; returns whether they could be written in time, which does not mean that the broker took
    /// them.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> bool {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(SOON, sent).await.is_ok_and(|sent| sent.is_ok())
    }

    pub(crate) async fn publish(&mut self, topic: &str, qos: QoS, payload: Vec<u8>) {
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = u16::from(qos != QoS::AtMostOnce);
        self.send(&Packet::Publish(publish)).await;
    }

    /// The next packet; `None` when the broker has hung up. Panics if neither happens in time.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        tokio::time::timeout(SOON, async {
            loop {
                match Packet::read(&mut self.input, 1 << 20) {
                    Ok(packet) => return Some(packet),
                    Err(PacketError::InsufficientBytes(_)) => {}
                    Err(error) => panic!("the broker speaks nonsense: {error}"),
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
        .expect("the broker neither answered nor hung up")
    }

    /// Waits until the broker hangs up, whatever it sends before.
    pub(crate) async fn is_hung_up_on(&mut self) {
        while self.next().await.is_some() {}
    }
}
