//! One node's connection: bytes to packets, packets through the fence, deliveries back. Ends for exactly one reason.

use crate::allowance::Ledger;
use crate::fence::{Fence, FenceLimits, Step, Violation};
use crate::registry::{Registry, Seat};
use crate::{Admission, Denied, Intake, UpEvent, UpMessage};
use bytes::BytesMut;
use noderr_ca::NodeCertificate;
use noderr_front::TlsConnection;
use noderr_protocol::{NodeId, Topics};
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What every session of a broker shares.
pub(crate) struct SessionContext {
    pub(crate) topics: Topics,
    pub(crate) limits: FenceLimits,
    pub(crate) ledger: Ledger,
    pub(crate) max_packet: usize,
    pub(crate) registry: Registry,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) up: Intake,
}

/// The longest time from the end of the handshake to CONNECT.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a peer may refuse to read: one that takes longer is gone or hostile.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The size of the buffer while waiting. Empty buffers are freed, so that idle sessions cost little.
const READ_FIRST: usize = 512;
const READ_MORE: usize = 4 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the node said goodbye")]
    Goodbye,
    #[error("the connection closed")]
    Closed,
    #[error("nothing heard for too long")]
    Silent,
    #[error("the peer does not read")]
    NotReading,
    #[error("the node's certificate has ended")]
    Expired,
    #[error("the node begins too many sessions")]
    Hasty,
    #[error("taken over by a newer session of the same node")]
    TakenOver,
    #[error("ended by the control plane")]
    Ended,
    #[error("the control plane is stopping")]
    Stopping,
    #[error("denied: {0}")]
    Denied(#[from] Denied),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("malformed packet: {0}")]
    Malformed(PacketError),
}

impl End {
    const fn label(&self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::NotReading => "not_reading",
            Self::Expired => "expired",
            Self::Hasty => "hasty",
            Self::TakenOver => "taken_over",
            Self::Ended => "ended",
            Self::Stopping => "stopping",
            Self::Denied(_) => "denied",
            Self::Violation(_) => "violation",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve((stream, peer): TlsConnection, context: &SessionContext) {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(identity) = leaf.and_then(|leaf| NodeCertificate::read(leaf).ok()) else {
        metrics::counter!("noderr_broker_sessions_ended_total", "reason" => "not_a_node").increment(1);
        tracing::info!(%peer, "a certificate of this authority that does not name a node was turned away");
        return;
    };
    let mut wire = Wire { stream, input: BytesMut::new(), output: BytesMut::new(), max: context.max_packet };
    let end = converse(&mut wire, &identity, context).await;
    metrics::counter!("noderr_broker_sessions_ended_total", "reason" => end.label()).increment(1);
    tracing::info!(node = %identity.subject.node.short(), %peer, reason = %end, "session ended");
    // Best effort: the peer may be gone already, and the socket closes either way.
    drop(tokio::time::timeout(Duration::from_millis(200), wire.stream.shutdown()).await);
}

async fn converse(wire: &mut Wire, identity: &NodeCertificate, context: &SessionContext) -> End {
    let node = identity.subject.node;
    let mut fence = match greet(wire, identity, context).await {
        Ok(fence) => fence,
        Err(end) => return end,
    };
    let mut seat = context.registry.seat(node, identity.serial);
    // Admission is asked again now that a revocation would find the seat: the first answer may be older than
    // a revocation that found no seat yet.
    if let Err(denied) = context.admission.admit(identity).await {
        return denied.into();
    }
    tracing::info!(node = %node.short(), "session began");
    let end = tokio::select! {
        end = talk(wire, &mut fence, &mut seat, node, context) => end,
        // A node that cannot renew its certificate must not stay for as long as its connection holds.
        () = tokio::time::sleep(identity.left()) => End::Expired,
    };
    if !seat.is_taken_over() {
        drop(seat);
        // Ingest is gone only when the whole process is stopping.
        _ = context.up.send(UpEvent::Disconnected(node)).await;
    }
    end
}

async fn greet(wire: &mut Wire, identity: &NodeCertificate, context: &SessionContext) -> Result<Fence, End> {
    let now = Instant::now();
    let allowances = context.ledger.allowances_of(identity.subject.node, now);
    if !allowances.begin(now) {
        return Err(End::Hasty);
    }
    let first = match tokio::time::timeout(CONNECT_DEADLINE, wire.next()).await {
        Ok(first) => first?,
        Err(_) => return Err(End::Silent),
    };
    let (fence, connack) =
        Fence::connect(identity.subject.node, context.topics.clone(), context.limits, allowances, first)?;
    if let Err(denied) = context.admission.admit(identity).await {
        let code = match denied {
            Denied::NotAdmitted | Denied::Unknown => ConnectReturnCode::NotAuthorized,
            Denied::Undecided(_) => ConnectReturnCode::ServiceUnavailable,
        };
        wire.put(&Packet::ConnAck(ConnAck::new(code, false)))?;
        wire.flush().await?;
        return Err(denied.into());
    }
    wire.put(&connack)?;
    wire.flush().await?;
    Ok(fence)
}

async fn talk(
    wire: &mut Wire,
    fence: &mut Fence,
    seat: &mut Seat<'_>,
    node: NodeId,
    context: &SessionContext,
) -> End {
    loop {
        let more = match take_all(wire, fence, seat, node, context).await {
            Ok(more) => more,
            Err(end) => return end,
        };
        let pause = fence.delay(Instant::now()).unwrap_or_default();
        let step = tokio::select! {
            biased;
            () = seat.end.cancelled() => {
                return if seat.is_taken_over() { End::TakenOver } else { End::Ended };
            }
            Some((kind, payload)) = seat.deliveries.recv() => {
                if !fence.takes(kind) {
                    metrics::counter!("noderr_broker_deliveries_dropped_total").increment(1);
                    continue;
                }
                let packet = fence.deliver(kind, payload);
                match wire.put(&packet) {
                    Ok(()) => wire.flush().await,
                    Err(end) => Err(end),
                }
            }
            () = tokio::time::sleep(pause), if more => Ok(()),
            read = tokio::time::timeout(fence.patience(), wire.fill()), if !more => {
                read.unwrap_or(Err(End::Silent))
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// Handles the whole packets that have arrived, as far as the rates and ingest's back-pressure allow, and
/// answers. Returns whether there may be more packets.
async fn take_all(
    wire: &mut Wire,
    fence: &mut Fence,
    seat: &Seat<'_>,
    node: NodeId,
    context: &SessionContext,
) -> Result<bool, End> {
    let more = loop {
        if fence.delay(Instant::now()).is_some() {
            break true;
        }
        let Some(packet) = wire.packet()? else { break false };
        match fence.packet(packet)? {
            Step::Nothing => {}
            Step::Reply(reply) => wire.put(&reply)?,
            Step::Unheard { reply } => {
                metrics::counter!("noderr_broker_unheard_total").increment(1);
                if let Some(reply) = reply {
                    wire.put(&reply)?;
                }
            }
            Step::Goodbye => return Err(End::Goodbye),
            Step::Ingest { kind, payload, reply } => {
                let event = UpEvent::Message(UpMessage { node, kind, payload });
                tokio::select! {
                    sent = context.up.send(event) => sent.map_err(|_| End::Stopping)?,
                    () = seat.end.cancelled() => return Ok(false),
                }
                if let Some(reply) = reply {
                    wire.put(&reply)?;
                }
            }
        }
    };
    wire.flush().await?;
    Ok(more)
}

/// The TLS stream with its two buffers.
struct Wire {
    stream: Box<TlsStream<TcpStream>>,
    input: BytesMut,
    output: BytesMut,
    max: usize,
}

impl Wire {
    /// Reads more bytes. Safe to cancel: bytes that were read are in the buffer.
    async fn fill(&mut self) -> Result<(), End> {
        if self.input.is_empty() {
            self.input = BytesMut::with_capacity(READ_FIRST);
        } else {
            self.input.reserve(READ_MORE);
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(End::Closed),
            Ok(_) => Ok(()),
        }
    }

    /// The next whole packet, if it has arrived already.
    fn packet(&mut self) -> Result<Option<Packet>, End> {
        if self.input.is_empty() {
            return Ok(None);
        }
        match Packet::read(&mut self.input, self.max) {
            Ok(packet) => Ok(Some(packet)),
            Err(PacketError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(End::Malformed(error)),
        }
    }

    async fn next(&mut self) -> Result<Packet, End> {
        loop {
            if let Some(packet) = self.packet()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }

    fn put(&mut self, packet: &Packet) -> Result<(), End> {
        packet.write(&mut self.output, self.max).map(drop).map_err(End::Malformed)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = tokio::time::timeout(WRITE_DEADLINE, write).await;
        self.output = BytesMut::new();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::NotReading),
        }
    }
}
