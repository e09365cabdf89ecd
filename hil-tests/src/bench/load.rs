//! Load that does not depend on what is measured: peers that keep a number of messages under way for some
//! time.

use anyhow::Context as _;
use noderr_hil::{Papers, Peer, hello};
use noderr_protocol::{
    Down, Entry, Lane, Message as _, Metric, Payload, Position, Record, RecordBatch, TelemetrySample, Up,
};
use rumqttc::mqttbytes::v4::Packet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The outcome of a load.
#[derive(Default)]
pub(super) struct Outcome {
    /// Messages answered.
    pub(super) messages: u64,
    /// The time from sending each message to its answer.
    pub(super) latencies: Vec<Duration>,
    /// How long the load took.
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    pub(super) fn percentile(&mut self, percent: usize) -> Duration {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// What counts as an answer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// The broker's acknowledgement.
    Acknowledged,
    /// The high-water mark, which the control plane sends after the commit.
    Stored,
}

/// Connects a peer for each of the papers, 64 at a time.
pub(super) async fn connect(papers: &[Papers], broker: SocketAddr) -> anyhow::Result<Vec<Peer>> {
    let (mut waiting, mut peers) = (JoinSet::new(), Vec::with_capacity(papers.len()));
    for paper in papers {
        if waiting.len() == 64 {
            peers.push(waiting.join_next().await.context("nobody connects")???);
        }
        let paper = paper.clone();
        waiting.spawn(async move { paper.connect(broker).await });
    }
    while let Some(peer) = waiting.join_next().await {
        peers.push(peer??);
    }
    Ok(peers)
}

/// A sample with every metric, as a record holds it.
pub(super) fn sample() -> anyhow::Result<Vec<u8>> {
    let sample =
        Metric::ALL.iter().fold(TelemetrySample::at(0), |sample, metric| sample.with(*metric, Some(1 << 20)));
    Ok(Payload::Telemetry(sample).encode()?)
}

/// A message with `count` records, numbered from `first`.
pub(super) fn batch(first: u64, count: u64) -> anyhow::Result<Up> {
    let body = sample()?;
    let entries = (first..first + count).map(|seq| {
        let body = body.clone().try_into().ok().context("a record is too long")?;
        Ok(Entry::Record(Record { position: Position { epoch: 1, seq }, body }))
    });
    let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Up::Records(RecordBatch {
        lane: Lane::Telemetry.tag(),
        entries: entries.try_into().ok().context("too many")?,
    }))
}

/// Says hello, so that the control plane knows the node's lanes.
pub(super) async fn greet(peer: &mut Peer) -> anyhow::Result<()> {
    peer.say(&Up::Hello(hello(1)))?;
    peer.flush().await?;
    while !matches!(peer.hear().await?, Down::Welcome(_)) {}
    Ok(())
}

/// How each peer behaves.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Messages under way at once.
    pub(super) window: usize,
    /// Records in one message.
    pub(super) records: u64,
    /// Rest between one answer and the next message, if any.
    pub(super) rest: Duration,
    pub(super) answer: Answer,
}

/// Lets all peers send for `time`. Returns the peers, each with the number that its next record gets, and the
/// outcome.
pub(super) async fn drive(
    peers: Vec<(Peer, u64)>,
    manner: Manner,
    time: Duration,
) -> anyhow::Result<(Vec<(Peer, u64)>, Outcome)> {
    let began = Instant::now();
    let mut talking = JoinSet::new();
    for (peer, next) in peers {
        talking.spawn(talk(peer, next, manner, began + time));
    }
    let (mut peers, mut outcome) = (Vec::new(), Outcome::default());
    while let Some(done) = talking.join_next().await {
        let (peer, next, latencies) = done??;
        peers.push((peer, next));
        outcome.messages += latencies.len() as u64;
        outcome.latencies.extend(latencies);
    }
    outcome.took = began.elapsed();
    Ok((peers, outcome))
}

async fn talk(
    mut peer: Peer,
    mut next: u64,
    manner: Manner,
    end: Instant,
) -> anyhow::Result<(Peer, u64, Vec<Duration>)> {
    let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut latencies = Vec::new();
    if !manner.rest.is_zero() {
        // The peers begin at random moments, because a thousand nodes do not report in the same instant.
        tokio::time::sleep(manner.rest.mul_f64(rand::random())).await;
    }
    loop {
        while under_way.len() < manner.window && Instant::now() < end {
            peer.say(&batch(next, manner.records)?)?;
            next += manner.records;
            under_way.push_back((next - 1, Instant::now()));
        }
        peer.flush().await?;
        if under_way.is_empty() {
            return Ok((peer, next, latencies));
        }
        match manner.answer {
            Answer::Acknowledged => {
                if let Packet::PubAck(_) = peer.next().await? {
                    let (_, said) = under_way.pop_front().context("an answer to nothing")?;
                    latencies.push(said.elapsed());
                }
            }
            Answer::Stored => {
                let Down::HighWaterMarks(marks) = peer.hear().await? else { continue };
                let through = marks.marks.iter().find(|mark| mark.lane == Lane::Telemetry.tag());
                let Some(through) = through else { continue };
                while under_way.front().is_some_and(|(last, _)| *last <= through.through.seq) {
                    let (_, said) = under_way.pop_front().context("it was there just now")?;
                    latencies.push(said.elapsed());
                }
                if !manner.rest.is_zero() && under_way.is_empty() {
                    let rest = manner.rest.min(end.saturating_duration_since(Instant::now()));
                    tokio::time::sleep(rest).await;
                }
            }
        }
    }
}
