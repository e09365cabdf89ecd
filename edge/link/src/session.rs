//! The link: keeps a session alive. Connects, says hello, learns the marks, sends the spool, begins again.
//!
//! Without a spool that can be read the link does everything but send records: a box whose disk is dying is the box that
//! must be reached.

use crate::hold::Holds;
use crate::mqtt::{self, Arrival, Arrivals, CONNECT_DEADLINE, LinkConfig, Lost, next};
use crate::pace::Pace;
use crate::progress::{Heard, Progress};
use noderr_identity::Papers;
use noderr_part::Backoff;
use noderr_protocol::{
    ActualState, Down, Entry, Hello, HighWaterMarks, LaneMark, LaneState, List, MAX_ENVELOPE, Message as _,
    RecordBatch, Up, Welcome,
};
use noderr_spool::{Spool, SpoolError};
use rumqttc::{AsyncClient, Packet, QoS};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

const BATCH_ENTRIES: usize = 256;
/// Bytes of entries in a batch; leaves room for the envelope around them.
const BATCH_BYTES: usize = MAX_ENVELOPE - 4096;
/// A session that held this long was a good one; the pauses begin anew at its end.
const HELD: Duration = Duration::from_secs(60);

/// The state of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected; with the reason, if an attempt has failed.
    Down(Option<String>),
    /// The broker turned the node away: revoked, suspended, or not on record.
    TurnedAway,
    /// Connected, and the hello was answered.
    Up {
        /// Sessions established since the start.
        connects: u32,
        /// Time from publishing a batch to its commit, as last seen.
        round_trip: Option<Duration>,
    },
}

/// Notified when the spool has something new.
pub type SpoolSignal = Arc<Notify>;

/// The link's ends of the channels to the rest of the node.
pub struct LinkHandles {
    /// The node's papers: where the broker is, whom to trust, what to show. New papers count from the next session on, and a
    /// broker that has moved ends the present one.
    pub papers: watch::Receiver<Arc<Papers>>,
    /// Messages to send that need no spool: heartbeats and answers. Dropped while there is no session.
    pub outgoing: mpsc::Receiver<Up>,
    /// Where desired states and challenges go.
    pub incoming: mpsc::Sender<Down>,
    /// The newest actual state, sent again in every session.
    pub actual: watch::Receiver<Option<ActualState>>,
    /// The state of the session.
    pub state: watch::Sender<LinkState>,
    /// Notified after an append to the spool, and when the spool has opened.
    pub signal: SpoolSignal,
}

/// Keeps the node connected.
pub struct Link<H> {
    config: LinkConfig,
    spool: Arc<Spool>,
    handles: LinkHandles,
    hello: H,
    connects: u32,
    holds: Holds,
}

/// One open session.
struct Session {
    client: AsyncClient,
    arrivals: Arrivals,
    papers: Arc<Papers>,
    pace: Pace,
    /// Whether the hello named what the spool holds.
    has_spool: bool,
}

impl<H: Fn(&[LaneState]) -> Hello> Link<H> {
    /// A link; `hello` makes the hello of a session, given what the spool holds.
    pub fn new(config: LinkConfig, spool: Arc<Spool>, handles: LinkHandles, hello: H) -> Self {
        Self { config, spool, handles, hello, connects: 0, holds: Holds::new() }
    }

    /// Runs until the other ends of the handles are gone.
    pub async fn run(&mut self) {
        let mut backoff = Backoff::new(self.config.pauses.0, self.config.pauses.1);
        loop {
            let mut up_since = None;
            let Err(lost) = self.session(&mut up_since).await;
            let state = match &lost {
                Lost::Stopping => return,
                Lost::TurnedAway => LinkState::TurnedAway,
                other => LinkState::Down(Some(other.to_string())),
            };
            tracing::warn!(reason = %lost, "no session with the broker");
            self.handles.state.send_replace(state);
            if up_since.is_some_and(|since: Instant| since.elapsed() >= HELD) {
                backoff.reset();
            }
            self.drop_outgoing_for(backoff.pause()).await;
        }
    }

    /// Waits, and drops outgoing messages meanwhile: they must not pile up while there is no session. New papers end the wait.
    async fn drop_outgoing_for(&mut self, pause: Duration) {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                changed = self.handles.papers.changed() => match changed {
                    Ok(()) => return,
                    Err(_) => return end.await,
                },
                message = self.handles.outgoing.recv() => if message.is_none() { return end.await },
            }
        }
    }

    async fn session(&mut self, up_since: &mut Option<Instant>) -> Result<Infallible, Lost> {
        let papers = self.handles.papers.borrow_and_update().clone();
        let connecting = mqtt::client(&self.config, &papers);
        let connected = tokio::time::timeout(CONNECT_DEADLINE, connecting).await;
        let (client, arrivals) = connected.map_err(|_| Lost::Silent)??;
        let mut session = Session { client, arrivals, papers, pace: Pace::default(), has_spool: false };
        let welcome = self.open(&mut session).await?;
        *up_since = Some(Instant::now());
        self.connects += 1;
        tracing::info!(connects = self.connects, "session with the broker established");
        self.exchange(&mut session, &welcome).await
    }

    /// Opens a session: CONNACK, subscription, hello, and the welcome that answers the hello.
    async fn open(&mut self, session: &mut Session) -> Result<Welcome, Lost> {
        let deadline = tokio::time::sleep(CONNECT_DEADLINE);
        tokio::pin!(deadline);
        loop {
            let arrival = tokio::select! {
                () = &mut deadline => return Err(Lost::Silent),
                arrival = next(&mut session.arrivals) => arrival?,
            };
            match self.note(session, arrival) {
                Some(Packet::ConnAck(_)) => {
                    let filter = self.config.topics.down_filter(&session.papers.enrolment.node);
                    session.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| Lost::Congested)?;
                }
                Some(Packet::SubAck(_)) => {
                    let lanes = self.with_spool(|spool| spool.lanes()).await;
                    session.has_spool = lanes.is_some();
                    let hello = (self.hello)(&lanes.unwrap_or_default());
                    self.publish(session, &Up::Hello(hello))?;
                }
                Some(Packet::Publish(publish)) => match Down::decode(&publish.payload) {
                    Ok(Down::Welcome(welcome)) => return Ok(welcome),
                    // Marks of an earlier session may still be on their way.
                    Ok(Down::HighWaterMarks(marks)) => self.acknowledge(&marks.marks).await,
                    Ok(other) => self.hand_in(other),
                    Err(error) => tracing::warn!(%error, "a message of the control plane is not understood"),
                },
                Some(Packet::PubAck(ack)) => {
                    session.pace.confirmed(ack.pkid, Instant::now());
                }
                _ => {}
            }
        }
    }

    /// Sends and listens until the session is lost.
    async fn exchange(&mut self, session: &mut Session, welcome: &Welcome) -> Result<Infallible, Lost> {
        let mut progress = Progress::of(welcome);
        self.acknowledge(&welcome.marks).await;
        self.report_up(None);
        let signal = self.handles.signal.clone();
        self.handles.actual.mark_changed();
        loop {
            match (session.has_spool, self.spool.stats().open) {
                (true, _) => self.send_batches(session, &mut progress).await?,
                (false, true) => return Err(Lost::SpoolIsBack),
                (false, false) => {}
            }
            let now = Instant::now();
            let left = |end: Instant| end.saturating_duration_since(now);
            let stall = progress.window.waits_since().map(|since| left(since + progress.patience()));
            let held = self.holds.next_end(now).map(left);
            tokio::select! {
                arrival = next(&mut session.arrivals) => {
                    self.heed_arrival(session, &mut progress, arrival?).await?;
                }
                message = self.handles.outgoing.recv() => {
                    self.publish(session, &message.ok_or(Lost::Stopping)?)?;
                }
                changed = self.handles.actual.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    let actual = self.handles.actual.borrow_and_update().clone();
                    if let Some(actual) = actual {
                        self.publish(session, &Up::ActualState(actual))?;
                    }
                }
                changed = self.handles.papers.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    self.look_for_broker(session)?;
                }
                () = signal.notified(), if progress.has_room() => {}
                () = tokio::time::sleep(stall.unwrap_or_default()), if stall.is_some() => progress.stalled(),
                () = tokio::time::sleep(held.unwrap_or_default()), if held.is_some() => {}
            }
        }
    }

    async fn heed_arrival(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        arrival: Arrival,
    ) -> Result<(), Lost> {
        match self.note(session, arrival) {
            Some(Packet::PubAck(ack)) => {
                if let Some(ticket) = session.pace.confirmed(ack.pkid, Instant::now()) {
                    progress.window.confirmed(ticket, Instant::now());
                }
            }
            Some(Packet::Publish(publish)) => match Down::decode(&publish.payload) {
                Ok(Down::HighWaterMarks(marks)) => self.heed(&marks, progress).await?,
                Ok(other) => self.hand_in(other),
                Err(error) => tracing::warn!(%error, "a message of the control plane is not understood"),
            },
            _ => {}
        }
        Ok(())
    }

    /// Notes what has been sent; returns the packet, if it is one.
    fn note(&self, session: &mut Session, arrival: Arrival) -> Option<Packet> {
        match arrival {
            Arrival::Packet(packet) => Some(packet),
            Arrival::Sent(packet) => {
                session.pace.numbered(packet);
                None
            }
        }
    }

    /// Ends the session if new papers name another broker.
    fn look_for_broker(&mut self, session: &mut Session) -> Result<(), Lost> {
        let newest = self.handles.papers.borrow_and_update().clone();
        let broker = self.config.broker(&newest);
        if self.config.broker(&session.papers) == broker { Ok(()) } else { Err(Lost::Moved(broker.clone())) }
    }

    /// Applies marks: deletes the records that they cover, and makes room for more batches or has some sent
    /// again.
    async fn heed(&mut self, marks: &HighWaterMarks, progress: &mut Progress) -> Result<(), Lost> {
        self.acknowledge(&marks.marks).await;
        match progress.heed(marks, &mut self.holds, Instant::now()) {
            Heard::Nothing => {}
            Heard::Arrived(took) => self.report_up(Some(took)),
            Heard::Astray => return Err(Lost::Astray),
        }
        Ok(())
    }

    /// Sends what the spool holds, the most important lane first, as far as line and window allow.
    async fn send_batches(&self, session: &mut Session, progress: &mut Progress) -> Result<(), Lost> {
        for lane in progress.open_lanes(&self.holds, Instant::now()) {
            while progress.has_room() && session.pace.has_room() {
                let (after, bytes) = (progress.window.cursor(lane), session.pace.batch().min(BATCH_BYTES));
                let read = move |spool: &Spool| spool.read(lane, after, BATCH_ENTRIES, bytes);
                let entries = self.with_spool(read).await.unwrap_or_default();
                let Some(last) = entries.last().map(Entry::last) else { break };
                let entries: List<_, 512> = entries.try_into().map_err(|_| Lost::Congested)?;
                let batch = Up::Records(RecordBatch { lane: lane.tag(), entries });
                let ticket = self.publish(session, &batch)?;
                progress.window.sent(ticket, lane, last, Instant::now());
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, marks: &[LaneMark]) {
        let marks = marks.to_vec();
        // Marks that cannot be applied now come again.
        let _: Option<()> = self
            .with_spool(move |spool| {
                let known = marks.iter().filter_map(|mark| Some((mark.lane.known()?, mark.through)));
                known.into_iter().try_for_each(|(lane, through)| spool.acknowledge(lane, through).map(drop))
            })
            .await;
    }

    /// Runs an operation of the spool; `None` if the spool fails, which the health check reports.
    async fn with_spool<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Option<T> {
        let spool = self.spool.clone();
        match tokio::task::spawn_blocking(move || operation(&spool)).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the spool cannot be used");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the task that used the spool panicked");
                None
            }
        }
    }

    /// Hands a message to the client; returns the ticket by which its arrival is known.
    fn publish(&self, session: &mut Session, message: &Up) -> Result<u64, Lost> {
        let payload = message.encode()?;
        let (topic, bytes) =
            (self.config.topics.up(&session.papers.enrolment.node, message.kind()), payload.len());
        let handed = session.client.try_publish(topic, QoS::AtLeastOnce, false, payload);
        handed.map_err(|_| Lost::Congested)?;
        Ok(session.pace.handed(bytes, Instant::now()))
    }

    /// Hands a message to the rest of the node. A message that finds no room is dropped: the control plane
    /// repeats desired states and challenges.
    fn hand_in(&self, message: Down) {
        if self.handles.incoming.try_send(message).is_err() {
            tracing::warn!("a message of the control plane was dropped: too many wait");
        }
    }

    fn report_up(&self, round_trip: Option<Duration>) {
        self.handles.state.send_replace(LinkState::Up { connects: self.connects, round_trip });
    }
}
