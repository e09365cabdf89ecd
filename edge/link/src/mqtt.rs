//! The MQTT client of one session, on a thread of its own, and why a session ends.

use crate::named::verifies_as;
use noderr_identity::{NodeKeys, Papers, TrustError, TrustedClock};
use noderr_part::dial;
use noderr_protocol::{EncodeError, HostPort, MAX_ENVELOPE, Topics};
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Outgoing, Packet};
use rumqttc::{TlsConfiguration, Transport};
use rustls::AlertDescription;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Events of the broker, and at last the error that ended the connection.
pub(crate) type Arrivals = mpsc::Receiver<Result<Event, ConnectionError>>;

/// How to connect; where to, and as which node, the papers say.
#[derive(Clone)]
pub struct LinkConfig {
    /// Where the broker is, in place of what the papers say.
    pub broker: Option<HostPort>,
    /// Topic grammar.
    pub topics: Topics,
    /// The node's keys.
    pub keys: NodeKeys,
    /// The time by which certificates are checked.
    pub clock: TrustedClock,
    /// Shortest and longest pause between attempts.
    pub pauses: (Duration, Duration),
}

impl LinkConfig {
    /// Where the broker is.
    pub(crate) fn broker<'a>(&'a self, papers: &'a Papers) -> &'a HostPort {
        self.broker.as_ref().unwrap_or(&papers.broker)
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0}")]
    Connection(String),
    #[error(
        "the broker turned this node away: it is revoked or suspended, or its certificate is not on record"
    )]
    TurnedAway,
    /// Somebody on the way can say this too, before the broker has proved itself: no reason to ask for new papers at once.
    #[error("the broker says that this node's certificate is revoked; ask the network's admins")]
    Revoked,
    #[error("the control plane keeps asking for records that are gone")]
    Astray,
    #[error("the broker did not answer in time")]
    Silent,
    #[error("the spool can be read again, which a new session will tell the control plane")]
    SpoolIsBack,
    #[error("the broker has moved to {0}")]
    Moved(HostPort),
    #[error("TLS cannot be spoken with these papers: {0}")]
    Papers(#[from] TrustError),
    #[error("a message cannot be written: {0}")]
    Unwritable(#[from] EncodeError),
    #[error("too much is waiting to be sent")]
    Congested,
    #[error("the node is stopping")]
    Stopping,
}

/// Begins to connect; returns the client and its arrivals.
pub(crate) async fn client(config: &LinkConfig, papers: &Papers) -> Result<(AsyncClient, Arrivals), Lost> {
    let HostPort { host, port } = config.broker(papers);
    let mut tls = papers.client_config(&config.keys, &config.clock)?;
    let unreachable =
        |error: std::io::Error| Lost::Connection(format!("cannot reach {host}:{port}: {error}"));
    let mut dial = host.clone();
    let addresses = dial::addresses(host, *port).await.map_err(unreachable)?;
    // rumqttc tries one address after the other, each for as long as it takes. Where the first address is not the first to
    // answer, rumqttc is given the address that does; what it finds there must be the broker by its name all the same.
    if addresses.len() > 1 {
        let (place, _) = dial::first_of(&addresses).await.map_err(unreachable)?;
        if place > 0 {
            verifies_as(&mut tls, host, &papers.roots)?;
            dial = addresses[place].ip().to_string();
        }
    }
    // A fresh client each time: a client that lost its session can stall for ever on packet ids of the old
    // session.
    let mut options = MqttOptions::new(papers.enrolment.node.to_string(), dial, *port);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls))));
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(64);
    options.set_max_packet_size(MAX_ENVELOPE + 512, MAX_ENVELOPE + 512);
    let (client, mut events) = AsyncClient::new(options, 256);
    events.network_options.set_tcp_nodelay(true);
    events.network_options.set_connection_timeout(CONNECT_DEADLINE.as_secs());
    let (sender, arrivals) = mpsc::channel(64);
    // Polling has a thread of its own: it must go on while the spool is read, must not be cancelled half-way,
    // and waits for the TPM in the middle of a handshake. The thread ends when the arrivals are dropped.
    let reactor = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        reactor.block_on(async {
            loop {
                let event = tokio::select! {
                    event = events.poll() => event,
                    () = sender.closed() => return,
                };
                let over = event.is_err();
                if sender.send(event).await.is_err() || over {
                    return;
                }
            }
        });
    });
    Ok((client, arrivals))
}

/// What the session hears of the MQTT client.
pub(crate) enum Arrival {
    /// A packet of the broker.
    Packet(Packet),
    /// The oldest message without a packet id has got this one, and is on its way.
    Sent(u16),
}

/// The next arrival.
pub(crate) async fn next(arrivals: &mut Arrivals) -> Result<Arrival, Lost> {
    loop {
        match arrivals.recv().await {
            Some(Ok(Event::Incoming(packet))) => return Ok(Arrival::Packet(packet)),
            Some(Ok(Event::Outgoing(Outgoing::Publish(packet)))) => return Ok(Arrival::Sent(packet)),
            Some(Ok(Event::Outgoing(_))) => {}
            Some(Err(ConnectionError::ConnectionRefused(
                ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
            ))) => return Err(Lost::TurnedAway),
            Some(Err(error)) => return Err(lost(&error)),
            None => return Err(Lost::Connection("the MQTT client ended".to_owned())),
        }
    }
}

/// Why the client's error ended the session: its innermost cause, in words for people.
fn lost(error: &ConnectionError) -> Lost {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<io::Error>();
        let tls = inner.downcast_ref().or_else(|| io?.get_ref()?.downcast_ref());
        match (tls, io) {
            (Some(rustls::Error::AlertReceived(AlertDescription::CertificateRevoked)), _) => {
                return Lost::Revoked;
            }
            (Some(tls), _) => return Lost::Connection(format!("TLS: {tls}")),
            (None, Some(io)) if io.kind() == ErrorKind::UnexpectedEof => {
                return Lost::Connection("the broker ended the connection".to_owned());
            }
            _ => cause = inner.source(),
        }
    }
    Lost::Connection(error.to_string())
}
