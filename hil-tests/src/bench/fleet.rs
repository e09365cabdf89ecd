//! A fleet at one control plane: peers with certificates and addresses of their own that behave as nodes do. They hold sessions,
//! give signs of life, and come back after the control plane was killed. The clients run on the same machine.

use super::process::ticks;
use anyhow::Context as _;
use noderr_hil::memory_kib;
use noderr_hil::{Lab, LabOptions, Mosquitto, Papers, Peer, hello, scratch, until};
use noderr_part::Backoff;
use noderr_protocol::{Down, Heartbeat, List, Message as _, Up};
use rumqttc::mqttbytes::v4::Packet;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SIZES: [usize; 4] = [1_000, 5_000, 10_000, 25_000];
/// Of a process: sockets of nodes are not all that it has open.
const OTHER_FILES: u64 = 600;
/// What a node has by itself.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(120));
/// What comes later is late.
const ON_TIME: Duration = Duration::from_secs(2);
const MEASURE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(600);

/// What the peers see, all together.
#[derive(Default)]
struct Seen {
    connected: AtomicUsize,
    beats: AtomicU64,
    late: AtomicU64,
}

pub(super) async fn run() -> anyhow::Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let most = usize::try_from(files.maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES))?;
    println!(
        "fleet: mTLS nodes with a heartbeat every {HEARTBEAT_EVERY:?}, clients on the same machine; {} open files a process",
        files.maximum.unwrap_or(u64::MAX)
    );
    let folder = scratch()?;
    let mut lab = Lab::start(folder.path(), LabOptions::default(), |_| {}).await?;
    let sizes: Vec<_> = SIZES.into_iter().map(|size| size.min(most)).collect();
    let papers = Papers::enrolled(&lab, sizes.iter().copied().max().unwrap_or_default()).await?;
    let pid = |lab: &Lab| lab.control.pid().context("the control plane does not run");
    let empty = memory_kib(pid(&lab)?, "VmRSS:")?;
    for size in sizes {
        let seen = Arc::new(Seen::default());
        let mut peers = begin(&papers[..size], lab.control.broker(), &seen);
        let began = Instant::now();
        all_there(&seen, size).await?;
        let connecting = began.elapsed();
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        let (beats, late, used) =
            (seen.beats.load(Ordering::Relaxed), seen.late.load(Ordering::Relaxed), ticks(pid(&lab)?)?);
        tokio::time::sleep(MEASURE).await;
        let beats = seen.beats.load(Ordering::Relaxed) - beats;
        let late = seen.late.load(Ordering::Relaxed) - late;
        let used = (ticks(pid(&lab)?)? - used) as f64 / rustix::param::clock_ticks_per_second() as f64;
        let memory = memory_kib(pid(&lab)?, "VmRSS:")?.saturating_sub(empty);
        lab.control.kill().await?;
        until("the fleet to notice", PATIENCE, || async {
            Ok((seen.connected.load(Ordering::Relaxed) == 0).then_some(()))
        })
        .await?;
        lab.control.start().await?;
        let began = Instant::now();
        all_there(&seen, size).await?;
        let back = began.elapsed();
        peers.abort_all();
        println!("  {size} nodes");
        println!("    memory a node        {:>8.1} KiB", memory as f64 / size as f64);
        println!("    processor            {:>8.1} % of a core", 100.0 * used / MEASURE.as_secs_f64());
        println!(
            "    heartbeats on time   {:>8.2} % of {beats}",
            100.0 * (1.0 - late as f64 / beats.max(1) as f64)
        );
        println!("    first connecting     {:>8.1} s", connecting.as_secs_f64());
        println!(
            "    all back after       {:>8.1} s from when the control plane was up again",
            back.as_secs_f64()
        );
        while peers.join_next().await.is_some() {}
    }
    drop(lab);
    mosquitto(&papers[..SIZES[1].min(most)], folder.path()).await
}

/// What mosquitto takes for sessions that do the same.
async fn mosquitto(papers: &[Papers], folder: &std::path::Path) -> anyhow::Result<()> {
    let broker = Mosquitto::start(&folder.join("mosquitto"), &folder.join("control/authority")).await?;
    let pid = broker.pid().context("mosquitto does not run")?;
    let empty = memory_kib(pid, "VmRSS:")?;
    let mut peers = Vec::new();
    for papers in papers {
        peers.push(papers.connect(broker.address()).await?);
    }
    let memory = memory_kib(pid, "VmRSS:")?.saturating_sub(empty);
    println!("  mosquitto, {} nodes", peers.len());
    println!("    memory a node        {:>8.1} KiB", memory as f64 / peers.len() as f64);
    Ok(())
}

async fn all_there(seen: &Seen, size: usize) -> anyhow::Result<()> {
    until("all nodes to be connected", PATIENCE, || async {
        Ok((seen.connected.load(Ordering::Relaxed) == size).then_some(()))
    })
    .await
}

fn begin(papers: &[Papers], broker: SocketAddr, seen: &Arc<Seen>) -> JoinSet<()> {
    let mut peers = JoinSet::new();
    for (number, papers) in (0_u32..).zip(papers) {
        // No two homes have one address.
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
        let (papers, seen) = (papers.clone(), seen.clone());
        peers.spawn(async move {
            let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
            loop {
                if let Ok(()) = live(&papers, broker, from, &seen).await {
                    backoff.reset();
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        });
    }
    peers
}

/// One session, to its end; an error if it was not welcomed.
async fn live(papers: &Papers, broker: SocketAddr, from: Ipv4Addr, seen: &Seen) -> anyhow::Result<()> {
    let mut peer = papers.connect_from(from.into(), broker).await?;
    peer.say(&Up::Hello(hello(1)))?;
    peer.flush().await?;
    while !matches!(peer.hear().await?, Down::Welcome(_)) {}
    seen.connected.fetch_add(1, Ordering::Relaxed);
    // Every session ends with the control plane that is killed.
    _ = beat(&mut peer, seen).await;
    seen.connected.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

/// Gives signs of life until the session is lost.
async fn beat(peer: &mut Peer, seen: &Seen) -> anyhow::Result<()> {
    let mut due = Instant::now() + HEARTBEAT_EVERY.mul_f64(rand::random());
    let mut unanswered = None;
    loop {
        tokio::select! {
            packet = peer.next() => match packet? {
                Packet::PubAck(_) => {
                    if let Some(due) = unanswered.take() {
                        seen.beats.fetch_add(1, Ordering::Relaxed);
                        let late = Instant::now().saturating_duration_since(due) > ON_TIME;
                        seen.late.fetch_add(u64::from(late), Ordering::Relaxed);
                    }
                }
                Packet::Publish(publish) => drop(Down::decode(&publish.payload)?),
                _ => {}
            },
            () = tokio::time::sleep_until(due.into()) => {
                let beat =
                    Heartbeat { time: 0, process_uptime_s: 1, failing: List::default(), backlog: 0, lost: 0 };
                peer.say(&Up::Heartbeat(beat))?;
                unanswered = Some(due);
                due += HEARTBEAT_EVERY;
                peer.flush().await?;
            }
        }
    }
}
