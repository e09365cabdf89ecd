//! The link: keeps a session alive. Connects, says hello, learns the marks, sends the spool, begins again.

use crate::hold::Holds;
use crate::mqtt::{self, Arrivals, CONNECT_DEADLINE, LinkConfig, Lost, next};
use crate::progress::{Heard, Progress};
use noderr_part::Backoff;
use noderr_protocol::{
    ActualState, Down, Hello, HighWaterMarks, LaneMark, LaneState, List, MAX_ENVELOPE, Message as _,
    RecordBatch, Up, Welcome,
};
use noderr_spool::{Spool, SpoolError};
use rumqttc::{AsyncClient, Packet, QoS};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// How long marks may stay out before the session sends again from the spool.
const STALL: Duration = Duration::from_secs(20);
const BATCH_ENTRIES: usize = 256;
/// Bytes of entries in a batch; leaves room for the envelope around them.
const BATCH_BYTES: usize = MAX_ENVELOPE - 4096;

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
    /// Messages to send that need no spool: heartbeats and answers. Dropped while there is no session.
    pub outgoing: mpsc::Receiver<Up>,
    /// Where desired states and challenges go.
    pub incoming: mpsc::Sender<Down>,
    /// The newest actual state, sent again in every session.
    pub actual: watch::Receiver<Option<ActualState>>,
    /// The state of the session.
    pub state: watch::Sender<LinkState>,
    /// Notified after an append to the spool.
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

impl<H: Fn(&[LaneState]) -> Hello> Link<H> {
    /// A link; `hello` makes the hello of a session, given what the spool holds.
    pub fn new(config: LinkConfig, spool: Arc<Spool>, handles: LinkHandles, hello: H) -> Self {
        Self { config, spool, handles, hello, connects: 0, holds: Holds::new() }
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

    /// Waits, and drops outgoing messages meanwhile: they must not pile up while there is no session.
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
        let (client, mut arrivals) = mqtt::client(&self.config);
        let lost = match self.open(&client, &mut arrivals).await {
            Ok(welcome) => {
                backoff.reset();
                self.connects += 1;
                tracing::info!(connects = self.connects, "session with the broker established");
                self.exchange(&client, &mut arrivals, &welcome).await
            }
            Err(lost) => Err(lost),
        };
        let Err(lost) = lost;
        lost
    }

    /// Opens a session: CONNACK, subscription, hello, and the welcome that answers the hello.
    async fn open(&self, client: &AsyncClient, arrivals: &mut Arrivals) -> Result<Welcome, Lost> {
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
                    Ok(Down::Welcome(welcome)) => return Ok(welcome),
                    // Marks of an earlier session may still be on their way.
                    Ok(Down::HighWaterMarks(marks)) => self.acknowledge(&marks.marks).await?,
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
        arrivals: &mut Arrivals,
        welcome: &Welcome,
    ) -> Result<Infallible, Lost> {
        let mut progress = Progress::of(welcome);
        self.acknowledge(&welcome.marks).await?;
        self.report_up(None);
        let signal = self.handles.signal.clone();
        self.handles.actual.mark_changed();
        loop {
            self.send_batches(client, &mut progress).await?;
            let stall = progress.window.waits_since().map(|since| STALL.saturating_sub(since.elapsed()));
            let held =
                self.holds.next_end(Instant::now()).map(|end| end.saturating_duration_since(Instant::now()));
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
                changed = self.handles.actual.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    let actual = self.handles.actual.borrow_and_update().clone();
                    actual.map_or(Ok(()), |actual| self.publish(client, &Up::ActualState(actual)))?;
                }
                () = signal.notified(), if progress.window.has_room() => {}
                () = tokio::time::sleep(stall.unwrap_or(STALL)), if stall.is_some() => {
                    tracing::warn!("no high-water mark for {STALL:?}; sending again from the spool");
                    progress.window.rewind();
                }
                () = tokio::time::sleep(held.unwrap_or_default()), if held.is_some() => {}
            }
        }
    }

    /// Applies marks: deletes the records that they cover, and makes room for more batches or has some sent
    /// again.
    async fn heed(&mut self, marks: &HighWaterMarks, progress: &mut Progress) -> Result<(), Lost> {
        self.acknowledge(&marks.marks).await?;
        match progress.heed(marks, &mut self.holds, Instant::now()) {
            Heard::Nothing => {}
            Heard::Arrived(took) => self.report_up(Some(took)),
            Heard::Astray => return Err(Lost::Astray),
        }
        Ok(())
    }

    /// Sends what the spool holds, the most important lane first, as far as the window allows.
    async fn send_batches(&self, client: &AsyncClient, progress: &mut Progress) -> Result<(), Lost> {
        for lane in progress.open_lanes(&self.holds, Instant::now()) {
            while progress.window.has_room() {
                let after = progress.window.cursor(lane);
                let entries =
                    self.with_spool(move |spool| spool.read(lane, after, BATCH_ENTRIES, BATCH_BYTES)).await?;
                let Some(last) = entries.last().map(noderr_protocol::Entry::last) else { break };
                let entries: List<_, 512> = entries.try_into().map_err(|_| Lost::Congested)?;
                self.publish(client, &Up::Records(RecordBatch { lane: lane.tag(), entries }))?;
                progress.window.sent(lane, last, Instant::now());
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, marks: &[LaneMark]) -> Result<(), Lost> {
        let marks = marks.to_vec();
        self.with_spool(move |spool| {
            let known = marks.iter().filter_map(|mark| Some((mark.lane.known()?, mark.through)));
            known.into_iter().try_for_each(|(lane, through)| spool.acknowledge(lane, through).map(drop))
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
            Err(error) => Err(Lost::SpoolPanicked(error.to_string())),
        }
    }

    fn publish(&self, client: &AsyncClient, message: &Up) -> Result<(), Lost> {
        let payload = message.encode()?;
        let topic = self.config.topics.up(&self.config.node, message.kind());
        client.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| Lost::Congested)
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
