//! Peers: certificates and connections of nodes without a node behind them, for hostile nodes that send
//! anything, and for thousands that are counted. A peer's certificate is made with the lab's own authority,
//! and put on record as enrolment would.

use crate::Lab;
use anyhow::{Context as _, bail};
use bytes::BytesMut;
use noderr_ca::{Authority, Csr, FileKey, NodeSubject};
use noderr_protocol::{
    Down, Hello, IdentityKind, List, Message as _, NodeId, Text, Topics, Up, WIRE_VERSION,
};
use rcgen::{CertificateParams, KeyPair};
use rumqttc::mqttbytes::v4::{Connect, Packet, PubAck, Publish, Subscribe};
use rumqttc::mqttbytes::{Error as PacketError, QoS};
use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sqlx::postgres::PgPool;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DAY: Duration = Duration::from_secs(86_400);
const MAX_PACKET: usize = 1 << 20;

/// The papers of a peer: its node id, certificate and key.
#[derive(Clone)]
pub struct Papers {
    /// The node that the certificate names.
    pub node: NodeId,
    tls: Arc<ClientConfig>,
    serial: [u8; 16],
}

impl Papers {
    /// How the node speaks TLS: with its certificate and key.
    pub fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }

    /// Makes papers with the authority in this folder; no database has them on record yet.
    pub fn make(authority: &Path, count: usize) -> anyhow::Result<Vec<Self>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
        let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
        let authority = Authority::open(authority, "demo", key, now)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.root().clone())?;
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        (0..count)
            .map(|_| {
                let (node, key) = (NodeId::from_bytes(rand::random()), KeyPair::generate()?);
                let request = CertificateParams::default().serialize_request(&key)?;
                let subject = NodeSubject { node, kind: IdentityKind::Software };
                let issued = authority.issue_node(subject, &Csr::parse(request.der())?, now, DAY)?;
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                let tls = ClientConfig::builder_with_provider(provider.clone())
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots.clone())
                    .with_client_auth_cert(vec![issued.der], key)?;
                Ok(Self { node, tls: Arc::new(tls), serial: issued.serial })
            })
            .collect()
    }

    /// Makes papers for nodes of the lab's operator and puts them on record.
    pub async fn enrolled(lab: &Lab, count: usize) -> anyhow::Result<Vec<Self>> {
        let papers = Self::make(lab.control.authority(), count)?;
        let owner = PgPool::connect(&lab.control.owner_url()?).await?;
        let nodes: Vec<_> = papers.iter().map(|paper| paper.node.as_bytes().to_vec()).collect();
        let serials: Vec<_> = papers.iter().map(|paper| paper.serial.to_vec()).collect();
        sqlx::query(
            "WITH added AS (
               INSERT INTO nodes (id, operator_id, label, enrolled_at, kind)
               SELECT id, $3::text::uuid, 'peer', now(), 'software' FROM UNNEST($1::bytea[]) AS n (id))
             INSERT INTO node_certificates (serial, node_id, not_before, not_after)
             SELECT serial, id, now(), now() + interval '1 day' FROM UNNEST($2::bytea[], $1::bytea[]) AS c (serial, id)",
        )
        .bind(nodes)
        .bind(serials)
        .bind(&lab.operator)
        .execute(&owner)
        .await?;
        owner.close().await;
        Ok(papers)
    }

    /// Connects and completes the handshake, and sends nothing.
    pub async fn dial(&self, broker: SocketAddr) -> anyhow::Result<Peer> {
        self.dial_from(broker.ip(), broker).await
    }

    async fn dial_from(&self, from: IpAddr, broker: SocketAddr) -> anyhow::Result<Peer> {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(from, 0))?;
        let tcp = socket.connect(broker).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, tcp).await?;
        Ok(Peer {
            node: self.node,
            topics: Topics::default(),
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            last_id: 0,
        })
    }

    /// Connects and subscribes as a node does.
    pub async fn connect(&self, broker: SocketAddr) -> anyhow::Result<Peer> {
        self.connect_from(broker.ip(), broker).await
    }

    /// Connects and subscribes from one of this machine's addresses.
    pub async fn connect_from(&self, from: IpAddr, broker: SocketAddr) -> anyhow::Result<Peer> {
        let mut peer = self.dial_from(from, broker).await?;
        let mut connect = Connect::new(self.node.to_string());
        connect.keep_alive = 600;
        connect.clean_session = true;
        peer.put(&Packet::Connect(connect))?;
        peer.flush().await?;
        let Packet::ConnAck(_) = peer.next().await? else { bail!("no CONNACK") };
        let mut subscribe = Subscribe::new(peer.topics.down_filter(&self.node), QoS::AtLeastOnce);
        subscribe.pkid = 1;
        peer.put(&Packet::Subscribe(subscribe))?;
        peer.flush().await?;
        let Packet::SubAck(_) = peer.next().await? else { bail!("no SUBACK") };
        Ok(peer)
    }
}

/// The hello of a node that holds nothing and knows nothing.
pub fn hello(epoch: u64) -> Hello {
    Hello {
        software: Text::truncated("peer"),
        architecture: Text::truncated("none"),
        speaks: WIRE_VERSION,
        knows: List::default(),
        facts: List::default(),
        epoch,
        time: 0,
        desired_version: 0,
        lanes: List::default(),
    }
}

/// One connection.
pub struct Peer {
    node: NodeId,
    topics: Topics,
    stream: TlsStream<TcpStream>,
    input: BytesMut,
    output: BytesMut,
    last_id: u16,
}

impl Peer {
    /// Queues a message at QoS 1; the next [`Self::flush`] sends it.
    pub fn say(&mut self, message: &Up) -> anyhow::Result<()> {
        self.publish(self.topics.up(&self.node, message.kind()), message.encode()?)
    }

    /// Queues any bytes under any kind.
    pub fn say_raw(&mut self, kind: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let topic = format!("/tenants/{}/up/{kind}", self.node);
        self.publish(topic, bytes)
    }

    fn publish(&mut self, topic: String, bytes: Vec<u8>) -> anyhow::Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, bytes);
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        publish.pkid = self.last_id;
        self.put(&Packet::Publish(publish))
    }

    /// Puts any packet down to be sent.
    pub fn put(&mut self, packet: &Packet) -> anyhow::Result<()> {
        packet.write(&mut self.output, MAX_PACKET).map(drop).context("a packet does not fit")
    }

    /// Sends all queued packets.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(self.stream.flush().await?)
    }

    /// The next packet. Safe to cancel.
    pub async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            match Packet::read(&mut self.input, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(PacketError::InsufficientBytes(_)) => {}
                Err(error) => bail!("the broker speaks nonsense: {error}"),
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the broker hung up");
            }
        }
    }

    /// Sends what waits, and hears until `pick` takes a message.
    pub async fn hear_a<T>(
        &mut self,
        patience: Duration,
        what: &str,
        pick: impl Fn(Down) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.flush().await?;
        let heard = async {
            loop {
                if let Some(picked) = pick(self.hear().await?) {
                    return Ok(picked);
                }
            }
        };
        tokio::time::timeout(patience, heard).await.with_context(|| format!("no {what} came"))?
    }

    /// Waits for the next message of the control plane, and acknowledges it.
    pub async fn hear(&mut self) -> anyhow::Result<Down> {
        loop {
            if let Packet::Publish(publish) = self.next().await? {
                if publish.qos == QoS::AtLeastOnce {
                    self.put(&Packet::PubAck(PubAck::new(publish.pkid)))?;
                    self.flush().await?;
                }
                return Ok(Down::decode(&publish.payload)?);
            }
        }
    }
}
