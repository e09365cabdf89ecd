//! One component that keeps a session alive: connect, say hello, learn the marks, send the spool, begin again.

use crate::backoff::Backoff;
use crate::window::Window;
use noderr_protocol::{
    Down, Hello, HighWaterMarks, Lane, LaneState, List, MAX_ENVELOPE, Message as _, NodeId, RecordBatch,
    Topics, Up,
};
use noderr_spool::{Spool, SpoolError};
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, QoS};
use rumqttc::{TlsConfiguration, Transport};
use rustls::ClientConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Marks that do not come for so long: begin again from the spool.
const STALL: Duration = Duration::from_secs(20);
/// Rewinds in a row before the session begins anew.
const REWINDS: u32 = 2;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const BATCH_ENTRIES: usize = 256;
/// Leaves room for the envelope around the entries.
const BATCH_BYTES: usize = MAX_ENVELOPE - 4096;

/// Where to connect and as whom.
#[derive(Clone)]
pub struct LinkConfig {
    /// Host and port of the broker.
    pub broker: (String, u16),
    /// The node.
    pub node: NodeId,
    /// Topic grammar.
    pub topics: Topics,
    /// mTLS with the node's key.
    pub tls: Arc<ClientConfig>,
    /// Shortest and longest pause between attempts.
    pub pauses: (Duration, Duration),
}

/// How the session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected; why, if an attempt has failed.
    Down(Option<String>),
    /// The broker turned the node away: revoked, suspended, or not on record.
    TurnedAway,
    /// Connected and heard.
    Up {
        /// How often that has happened since the start.
        connects: u32,
        /// Publish to commit, as last seen.
        round_trip: Option<Duration>,
    },
}

/// Rung when the spool has something new.
pub type SpoolSignal = Arc<Notify>;

/// What the rest of the node holds of the link.
pub struct LinkHandles {
    /// Messages that need no spool: heartbeats, actual state, answers. Dropped while there is no session.
    pub outgoing: mpsc::Receiver<Up>,
    /// Desired states and challenges.
    pub incoming: mpsc::Sender<Down>,
    /// How the session is.
    pub state: watch::Sender<LinkState>,
    /// Rung after an append.
    pub signal: SpoolSignal,
}

/// Keeps the node connected.
pub struct Link<H> {
    config: LinkConfig,
    spool: Arc<Spool>,
    handles: LinkHandles,
    hello: H,
    connects: u32,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Connection(String),
    #[error(
        "the broker turned this node away: it is revoked or suspended, or its certificate is not on record"
    )]
    TurnedAway,
    #[error("the broker did not answer in time")]
    Silent,
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] SpoolError),
    #[error("too much is waiting to be sent")]
    Congested,
    #[error("the node is stopping")]
    Stopping,
}

/// How a session gets on.
#[derive(Default)]
struct Progress {
    window: Window,
    /// Demands in a row to send again.
    rewinds: u32,
}

impl<H: Fn(&[LaneState]) -> Hello> Link<H> {
    /// `hello` says who is there, given what the spool holds.
    pub const fn new(config: LinkConfig, spool: Arc<Spool>, handles: LinkHandles, hello: H) -> Self {
        Self { config, spool, handles, hello, connects: 0 }
    }

    /// Runs until the other ends of the handles are gone.
    pub async fn run(&mut self) {
        let mut backoff = Backoff::new(self.config.pauses.0, self.config.pauses.1);
        loop {
            let lost = self.session(&mut backoff).await;
            let state = match &lost {
                Lost::Stopping => return,
                Lost::TurnedAway => LinkState::TurnedAway,
                other => LinkState::Down(Some(other.to_string())),
            };
            tracing::warn!(reason = %lost, "no session with the broker");
            self.handles.state.send_replace(state);
            self.drop_outgoing_for(backoff.pause()).await;
        }
    }

    /// Messages that make sense only now must not pile up while nobody can hear them.
    async fn drop_outgoing_for(&mut self, pause: Duration) {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                message = self.handles.outgoing.recv() => if message.is_none() { return end.await },
            }
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Lost {
        // A fresh client each time: one that lost its session can stall for ever on packet ids of the old one.
        let mut options = MqttOptions::new(
            self.config.node.to_string(),
            self.config.broker.0.clone(),
            self.config.broker.1,
        );
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(self.config.tls.clone())));
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(64);
        options.set_max_packet_size(MAX_ENVELOPE + 512, MAX_ENVELOPE + 512);
        let (client, mut events) = AsyncClient::new(options, 256);
        events.network_options.set_tcp_nodelay(true);
        events.network_options.set_connection_timeout(CONNECT_DEADLINE.as_secs());
        let (sender, mut arrivals) = mpsc::channel(64);
        // A thread of its own: polling must go on while the spool is read, must not be cancelled half-way, and waits for
        // the TPM in the middle of a handshake. It ends with the arrivals.
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
        let lost = match self.open(&client, &mut arrivals).await {
            Ok(marks) => {
                backoff.reset();
                self.connects += 1;
                tracing::info!(connects = self.connects, "session with the broker established");
                self.exchange(&client, &mut arrivals, marks).await
            }
            Err(lost) => Err(lost),
        };
        let Err(lost) = lost;
        lost
    }

    /// CONNACK, subscription, hello, and the marks that answer it.
    async fn open(
        &self,
        client: &AsyncClient,
        arrivals: &mut mpsc::Receiver<Result<Event, ConnectionError>>,
    ) -> Result<HighWaterMarks, Lost> {
        let deadline = tokio::time::sleep(CONNECT_DEADLINE);
        tokio::pin!(deadline);
        loop {
            let event = tokio::select! {
                () = &mut deadline => return Err(Lost::Silent),
                event = next(arrivals) => event?,
            };
            match event {
                Packet::ConnAck(_) => {
                    let filter = self.config.topics.down_filter(&self.config.node);
                    client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| Lost::Congested)?;
                }
                Packet::SubAck(_) => {
                    let lanes = self.with_spool(|spool| spool.lanes()).await?;
                    self.publish(client, &Up::Hello((self.hello)(&lanes)))?;
                }
                Packet::Publish(publish) => match Down::decode(&publish.payload) {
                    Ok(Down::HighWaterMarks(marks)) => return Ok(marks),
                    Ok(other) => self.hand_in(other),
                    Err(error) => tracing::warn!(%error, "a message of the control plane is not understood"),
                },
                _ => {}
            }
        }
    }

    /// Sends and listens until the session is lost.
    async fn exchange(
        &mut self,
        client: &AsyncClient,
        arrivals: &mut mpsc::Receiver<Result<Event, ConnectionError>>,
        marks: HighWaterMarks,
    ) -> Result<Infallible, Lost> {
        let mut progress = Progress::default();
        self.acknowledge(&marks).await?;
        self.report_up(None);
        let signal = self.handles.signal.clone();
        loop {
            self.send_batches(client, &mut progress.window).await?;
            let stall = progress.window.waits_since().map(|since| STALL.saturating_sub(since.elapsed()));
            tokio::select! {
                packet = next(arrivals) => if let Packet::Publish(publish) = packet? {
                    match Down::decode(&publish.payload) {
                        Ok(Down::HighWaterMarks(marks)) => self.heed(&marks, &mut progress).await?,
                        Ok(other) => self.hand_in(other),
                        Err(error) => tracing::warn!(%error, "a message of the control plane is not understood"),
                    }
                },
                message = self.handles.outgoing.recv() => {
                    self.publish(client, &message.ok_or(Lost::Stopping)?)?;
                }
                () = signal.notified(), if progress.window.has_room() => {}
                () = tokio::time::sleep(stall.unwrap_or(STALL)), if stall.is_some() => {
                    tracing::warn!("no high-water mark for {STALL:?}; sending again from the spool");
                    progress.window.rewind();
                }
            }
        }
    }

    /// Marks: what they cover may be forgotten, and there is room for more; or everything from there again.
    async fn heed(&self, marks: &HighWaterMarks, progress: &mut Progress) -> Result<(), Lost> {
        self.acknowledge(marks).await?;
        progress.rewinds = if marks.rewind { progress.rewinds + 1 } else { 0 };
        if progress.rewinds > REWINDS {
            // Only a hello lets the server put on record that it has lost what we were told to forget.
            return Err(Lost::Connection("the control plane keeps asking for what is gone".to_owned()));
        }
        if let Some(round_trip) = progress.window.marks(marks, Instant::now()) {
            self.report_up(Some(round_trip));
        }
        Ok(())
    }

    /// Sends what the spool holds, the most important lane first, as far as the window allows.
    async fn send_batches(&self, client: &AsyncClient, window: &mut Window) -> Result<(), Lost> {
        for lane in Lane::ALL {
            while window.has_room() {
                let after = window.cursor(lane);
                let entries =
                    self.with_spool(move |spool| spool.read(lane, after, BATCH_ENTRIES, BATCH_BYTES)).await?;
                let Some(last) = entries.last().map(noderr_protocol::Entry::last) else { break };
                let entries: List<_, 512> = entries.try_into().map_err(|_| Lost::Congested)?;
                self.publish(client, &Up::Records(RecordBatch { lane, entries }))?;
                window.sent(lane, last, Instant::now());
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, marks: &HighWaterMarks) -> Result<(), Lost> {
        let marks = marks.marks.to_vec();
        self.with_spool(move |spool| {
            marks.iter().try_for_each(|mark| spool.acknowledge(mark.lane, mark.through).map(drop))
        })
        .await
    }

    async fn with_spool<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, Lost> {
        let spool = self.spool.clone();
        match tokio::task::spawn_blocking(move || operation(&spool)).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Lost::Connection(format!("the spool panicked: {error}"))),
        }
    }

    fn publish(&self, client: &AsyncClient, message: &Up) -> Result<(), Lost> {
        let payload = message.encode().map_err(|error| Lost::Connection(error.to_string()))?;
        let topic = self.config.topics.up(&self.config.node, message.kind());
        client.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| Lost::Congested)
    }

    /// The newest state wins anyway: if the node is too busy to listen, it will ask again at its next hello.
    fn hand_in(&self, message: Down) {
        if self.handles.incoming.try_send(message).is_err() {
            tracing::warn!("a message of the control plane was dropped: too many wait");
        }
    }

    fn report_up(&self, round_trip: Option<Duration>) {
        self.handles.state.send_replace(LinkState::Up { connects: self.connects, round_trip });
    }
}

async fn next(arrivals: &mut mpsc::Receiver<Result<Event, ConnectionError>>) -> Result<Packet, Lost> {
    loop {
        match arrivals.recv().await {
            Some(Ok(Event::Incoming(packet))) => return Ok(packet),
            Some(Ok(Event::Outgoing(_))) => {}
            Some(Err(ConnectionError::ConnectionRefused(
                ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
            ))) => return Err(Lost::TurnedAway),
            Some(Err(error)) => return Err(Lost::Connection(error.to_string())),
            None => return Err(Lost::Connection("the MQTT client ended".to_owned())),
        }
    }
}
