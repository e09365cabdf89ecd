//! The link up to the database: the whole control plane behind either broker. A message counts when the
//! high-water mark that follows its commit has come back to the node.

use crate::bench::line;
use crate::bench::load::{Answer, Manner, Outcome, connect, drive, greet};
use crate::bench::process::{descendants, ticks};
use anyhow::Context as _;
use noderr_hil::memory_kib;
use noderr_hil::{ControlOptions, Lab, LabOptions, Mosquitto, Papers, Peer, scratch};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MEASURE: Duration = Duration::from_secs(10);
const NODES: usize = 1000;

/// The figures of one broker.
struct Figures {
    one_busy: f64,
    many_busy: f64,
    /// Microseconds of processor for each message of the many: clients, control plane, PostgreSQL, broker beside it.
    spent: [f64; 4],
    one_calm: Outcome,
    many_calm: Outcome,
    handshakes: f64,
    memory_kib: f64,
}

pub(super) async fn run() -> anyhow::Result<()> {
    let mut ours = measure(false).await?;
    let mut theirs = measure(true).await?;
    line("to the database, 1 node, busy", "msg/s", ours.one_busy, theirs.one_busy);
    line("to the database, 1,000 nodes, busy", "msg/s", ours.many_busy, theirs.many_busy);
    let places = ["clients", "control plane", "PostgreSQL", "broker beside it"];
    for ((place, ours), theirs) in places.into_iter().zip(ours.spent).zip(theirs.spent) {
        println!("    processor a message, {place:<24} {ours:>9.1} / {theirs:>9.1} µs");
    }
    for (what, ours, theirs) in [
        ("1 node, 50 messages a second", &mut ours.one_calm, &mut theirs.one_calm),
        ("1,000 nodes, a message every 5 s each", &mut ours.many_calm, &mut theirs.many_calm),
    ] {
        for percent in [50, 99] {
            let ms = |outcome: &mut Outcome| outcome.percentile(percent).as_secs_f64() * 1000.0;
            line(&format!("said to stored, p{percent}, {what}"), "ms", ms(ours), ms(theirs));
        }
    }
    line("connecting and being admitted", "1/s", ours.handshakes, theirs.handshakes);
    line("memory of 1,000 idle nodes", "KiB", ours.memory_kib, theirs.memory_kib);
    Ok(())
}

async fn measure(external: bool) -> anyhow::Result<Figures> {
    let folder = scratch()?;
    let control = ControlOptions::default()
        .with("broker", "node_packets_per_s = 1000000\nnode_kib_per_s = 1000000\nnode_burst_mib = 1000");
    let mosquitto = external.then_some((|guide| guide) as fn(String) -> String);
    let lab =
        Lab::start(folder.path(), LabOptions { control, mosquitto, ..LabOptions::default() }, |_| {}).await?;
    let papers = Papers::enrolled(&lab, NODES).await?;
    let broker = lab.broker();
    let pid = lab.mosquitto.as_ref().map_or_else(|| lab.control.pid(), Mosquitto::pid);
    let pid = pid.context("the broker does not run")?;

    let one = introduced(&papers[..1], broker).await?;
    let busy = Manner { window: 256, records: 1, rest: Duration::ZERO, answer: Answer::Stored };
    let (one, one_busy) = drive(one, busy, MEASURE).await?;
    let calm = Manner { window: 1, records: 1, rest: Duration::from_millis(20), answer: Answer::Stored };
    let (one, one_calm) = drive(one, calm, MEASURE).await?;
    drop(one);

    let before = memory_kib(pid, "VmRSS:")?;
    let began = Instant::now();
    let peers = connect(&papers[1..], broker).await?;
    let handshakes = peers.len() as f64 / began.elapsed().as_secs_f64();
    let memory = memory_kib(pid, "VmRSS:")?.saturating_sub(before);
    let many = greeted(peers).await?;
    let (many, many_calm) = drive(many, Manner { rest: Duration::from_secs(5), ..calm }, MEASURE).await?;
    let used = || used_by(&lab);
    let before = used()?;
    let (_, many_busy) = drive(many, Manner { window: 2, ..busy }, MEASURE).await?;
    let after = used()?;
    let spent = std::array::from_fn(|place| {
        let seconds = (after[place] - before[place]) as f64 / rustix::param::clock_ticks_per_second() as f64;
        seconds * 1e6 / many_busy.messages as f64
    });
    Ok(Figures {
        one_busy: one_busy.per_second(),
        many_busy: many_busy.per_second(),
        spent,
        one_calm,
        many_calm,
        handshakes,
        memory_kib: memory as f64,
    })
}

/// Processor time so far, in clock ticks: clients, control plane, PostgreSQL, broker beside it.
fn used_by(lab: &Lab) -> anyhow::Result<[u64; 4]> {
    let of = |pid: Option<u32>| pid.map_or(Ok(0), ticks);
    let control = lab.control.pid().context("the control plane does not run")?;
    let database = lab.control.database_pid().context("PostgreSQL does not run")?;
    let mut postgres = ticks(database)?;
    for pid in descendants(database)? {
        // A backend that has just gone counts no more.
        postgres += ticks(pid).unwrap_or_default();
    }
    Ok([
        ticks(std::process::id())?,
        ticks(control)?,
        postgres,
        of(lab.mosquitto.as_ref().and_then(Mosquitto::pid))?,
    ])
}

async fn introduced(papers: &[Papers], broker: SocketAddr) -> anyhow::Result<Vec<(Peer, u64)>> {
    greeted(connect(papers, broker).await?).await
}

async fn greeted(peers: Vec<Peer>) -> anyhow::Result<Vec<(Peer, u64)>> {
    let mut greeting = JoinSet::new();
    for mut peer in peers {
        greeting.spawn(async move { greet(&mut peer).await.map(|()| peer) });
    }
    let mut greeted = Vec::new();
    while let Some(peer) = greeting.join_next().await {
        greeted.push((peer??, 1));
    }
    Ok(greeted)
}
