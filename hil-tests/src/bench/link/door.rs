//! The link up to the channel of ingest: what a broker can carry without the database behind it. Both brokers
//! are used through the trait by which the control plane uses them.

use crate::bench::line;
use crate::bench::load::{Answer, Manner, connect, drive};
use noderr_broker::{
    EmbeddedBroker, ExternalBroker, ExternalConfig, Intake, IntakeQueue, Rates, SHARES, Shares, UpEvent,
};
use noderr_ca::{Authority, FileKey};
use noderr_front::Rate;
use noderr_hil::{Mosquitto, Papers, bare_broker, until};
use noderr_protocol::Topics;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MEASURE: Duration = Duration::from_secs(8);
const DAY: Duration = Duration::from_secs(86_400);

/// Counts the messages that reach the channel of ingest.
struct Door {
    count: Arc<AtomicU64>,
    _counting: tokio_util::task::AbortOnDropHandle<()>,
}

impl Door {
    fn open(mut events: IntakeQueue) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let counting = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                counter.fetch_add(u64::from(matches!(event, UpEvent::Message(_))), Ordering::Relaxed);
            }
        });
        Self { count, _counting: tokio_util::task::AbortOnDropHandle::new(counting) }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

pub(super) async fn run() -> anyhow::Result<()> {
    let folder = noderr_hil::scratch()?;
    let authority = folder.path().join("authority");
    let mosquitto = Mosquitto::start(&folder.path().join("mosquitto"), &authority).await?;
    let papers = Papers::make(&authority, 1000)?;
    let (embedded, ours) = embedded(&authority).await?;
    let (_external, theirs) = external(&authority, &mosquitto, &papers[0]).await?;
    for (nodes, window) in [(1, 256), (1000, 4)] {
        let mut rates = Vec::new();
        let mut handshakes = Vec::new();
        for (address, door) in [(embedded.address(), &ours), (mosquitto.address(), &theirs)] {
            let began = Instant::now();
            let peers = connect(&papers[..nodes], address).await?;
            handshakes.push(nodes as f64 / began.elapsed().as_secs_f64());
            let manner = Manner { window, records: 1, rest: Duration::ZERO, answer: Answer::Acknowledged };
            let (before, began) = (door.count(), Instant::now());
            let (peers, said) =
                drive(peers.into_iter().map(|peer| (peer, 1)).collect(), manner, MEASURE).await?;
            until("everything that was acknowledged to arrive", MEASURE * 4, || async {
                Ok((door.count() - before >= said.messages).then_some(()))
            })
            .await?;
            rates.push((door.count() - before) as f64 / began.elapsed().as_secs_f64());
            drop(peers);
        }
        line(&format!("to ingest's door, {nodes} nodes"), "msg/s", rates[0], rates[1]);
        if nodes > 1 {
            line("connecting, broker alone", "1/s", handshakes[0], handshakes[1]);
        }
    }
    embedded.stop().await;
    Ok(())
}

fn open(authority: &Path) -> anyhow::Result<(Authority, i64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
    let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
    Ok((Authority::open(authority, "demo", key, now)?, now))
}

async fn embedded(authority: &Path) -> anyhow::Result<(EmbeddedBroker, Door)> {
    let unbounded = Rate { per_second: u32::MAX, burst: u32::MAX };
    let rates = Rates { packets: unbounded, bytes: unbounded, ..Rates::default() };
    let (broker, events) = bare_broker(authority, rates).await?;
    Ok((broker, Door::open(events)))
}

async fn external(
    authority: &Path,
    mosquitto: &Mosquitto,
    anybody: &Papers,
) -> anyhow::Result<(ExternalBroker, Door)> {
    let (authority, now) = open(authority)?;
    let (up, events) = Intake::for_one();
    let tls = move || {
        let identity = authority.issue_service("noderr-control", now, DAY)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.root().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(identity.chain, identity.key)?;
        Ok(Arc::new(tls))
    };
    let shares = Arc::new(Shares::default());
    shares.hold(&(0..SHARES).collect::<Vec<_>>(), Instant::now() + Duration::from_secs(86_400));
    let config = ExternalConfig {
        shares,
        host: "localhost".to_owned(),
        port: mosquitto.address().port(),
        topics: Topics::default(),
        client_id: "bench".to_owned(),
        tls: Box::new(tls),
        session: DAY,
    };
    let (broker, door) = (ExternalBroker::start(config, up), Door::open(events));
    // Nothing comes through until the broker's client has subscribed.
    let mut peer = anybody.connect(mosquitto.address()).await?;
    for _ in 0..400 {
        peer.say(&crate::bench::load::batch(1, 1)?)?;
        peer.flush().await?;
        if door.count() > 0 {
            return Ok((broker, door));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("nothing comes through mosquitto");
}
