//! The composition root: makes the channels, builds the parts, runs them together. All wiring is on this page.

use crate::boot;
use crate::config::Config;
use crate::data::DataFolder;
use crate::health::{Health, feed_watchdog, write_alert};
use crate::registrar::{Registrar, open_keys};
use crate::sampler::Sampler;
use crate::status::{Board, StatusServer};
use crate::steward::Steward;
use crate::supervise::Supervisor;
use anyhow::Context as _;
use noderr_identity::{CertificateResolver, Enrolment, NodeKeys, TrustRoots, client_config};
use noderr_link::{Link, LinkConfig, LinkHandles, LinkState, SpoolSignal};
use noderr_protocol::{Alert, AlertCode, Hello, LaneState, Text};
use noderr_spool::{Spool, SpoolConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};

pub(crate) const SOFTWARE: &str = concat!("noderr-node ", env!("CARGO_PKG_VERSION"));

/// What `run` and `enrol` both begin with.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<(Arc<Registrar>, Option<Enrolment>)> {
    let data = Arc::new(DataFolder::open(&config.storage.data)?);
    let enrolment = Enrolment::load(&data.enrolment())?;
    let keys = open_keys(config, &data, enrolment.as_ref())?;
    let pem = match &enrolment {
        Some(enrolment) => enrolment.trust_roots.clone(),
        None => config.roots_pem()?,
    };
    let board = Board::default();
    board.update(|status| SOFTWARE.clone_into(&mut status.software));
    let registrar = Registrar {
        url: config.control_plane.url.clone(),
        deadline: config.deadline(),
        roots: TrustRoots::from_pem(&pem)?,
        clock: boot::clock(&data),
        data,
        keys,
        board,
    };
    Ok((Arc::new(registrar), enrolment))
}

/// Runs the node until it is told to stop.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (registrar, enrolment) = prepare(&config)?;
    let board = registrar.board.clone();
    let mut supervisor = Supervisor::default();

    let server = StatusServer::bind(&config.status.socket)
        .with_context(|| format!("cannot listen on {}", config.status.socket.display()))?;
    let (server, shown) = (Arc::new(server), board.clone());
    supervisor.keep("status", move || {
        let (server, board) = (server.clone(), shown.clone());
        async move { server.run(board).await }
    });
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("cannot notify systemd")?;
    supervisor.keep("watchdog", feed_watchdog);

    let enrolment = match enrolment {
        Some(enrolment) => enrolment,
        None => {
            let enrolled = tokio::select! {
                enrolled = registrar.enrol_patiently(&config) => enrolled?,
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            };
            enrolled.save(&registrar.data.enrolment())?;
            tracing::info!(node = %enrolled.node, kind = %enrolled.kind, "enrolled");
            enrolled
        }
    };
    registrar.show(&enrolment);
    start_parts(&config, &registrar, enrolment, &mut supervisor, started).await?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    supervisor.stop().await;
    boot::remember(&registrar.data, &registrar.clock)
}

async fn start_parts(
    config: &Config,
    registrar: &Arc<Registrar>,
    enrolment: Enrolment,
    supervisor: &mut Supervisor,
    started: Instant,
) -> anyhow::Result<()> {
    let (data, clock, keys) = (registrar.data.clone(), registrar.clock.clone(), registrar.keys.clone());
    let epoch = match boot::begin(&data, enrolment.epoch_floor) {
        Ok(epoch) => epoch,
        // A full disk must not keep the box from starting: the spool's reserve is for such a day.
        Err(first) => {
            data.give_up_reserve().with_context(|| format!("cannot begin a boot epoch: {first:#}"))?;
            boot::begin(&data, enrolment.epoch_floor).context("cannot begin a boot epoch")?
        }
    };
    let budget_bytes = config.storage.spool_mib << 20;
    let spool_config = SpoolConfig { path: data.spool(), epoch, budget_bytes };
    let spool = Arc::new(tokio::task::spawn_blocking(|| Spool::open(spool_config)).await??);
    let signal = SpoolSignal::default();
    if let Some(aside) = spool.replaced() {
        let detail =
            Text::truncated(&format!("the previous spool was unreadable and lies in {}", aside.display()));
        let alert = Alert { time: clock.now_ms(), code: AlertCode::SpoolReplaced, detail };
        write_alert(&spool, &signal, alert).await;
    }

    let (outgoing, outgoing_end) = mpsc::channel(64);
    let (incoming, incoming_end) = mpsc::channel(64);
    let (link_state, link) = watch::channel(LinkState::Down(None));
    let (every_s, every_s_end) = watch::channel(config.telemetry.sample_every_s);
    registrar.board.update(|status| status.sample_every_s = config.telemetry.sample_every_s);

    let resolver = CertificateResolver::new(&keys, &enrolment.certificate_chain)?;
    let tls = Arc::new(client_config(&registrar.roots, &clock, resolver.clone())?);
    let link_config = LinkConfig {
        broker: split_address(config.link.broker.as_deref().unwrap_or(&enrolment.broker))?,
        node: enrolment.node,
        topics: config.topics()?,
        tls,
        pauses: (Duration::from_millis(500), Duration::from_secs(config.link.longest_pause_s.max(1))),
    };

    let steward = Steward {
        data,
        keys: keys.clone(),
        board: registrar.board.clone(),
        every_s,
        incoming: Arc::new(Mutex::new(incoming_end)),
        outgoing: outgoing.clone(),
    };
    if let Some(desired) = Steward::remembered(&registrar.data) {
        steward.adopt(&desired);
    }
    supervisor.keep("steward", move || steward.clone().run());

    let sampler = Sampler {
        data: config.storage.data.clone(),
        clock: clock.clone(),
        tpm: match &keys {
            NodeKeys::Tpm(tpm) => Some(tpm.clone()),
            NodeKeys::Software(_) => None,
        },
        spool: spool.clone(),
        signal: signal.clone(),
        board: registrar.board.clone(),
        every_s: every_s_end,
        every_ms: config.telemetry.sample_every_ms,
        batch: config.telemetry.batch,
        batch_every: Duration::from_secs(config.telemetry.batch_every_s),
        stop: supervisor.stop_token(),
    };
    supervisor.keep("sampler", move || sampler.clone().run());

    let health = Health {
        data: config.storage.data.clone(),
        keys,
        clock: clock.clone(),
        spool: spool.clone(),
        signal: signal.clone(),
        board: registrar.board.clone(),
        link,
        outgoing,
        heartbeat_every: Duration::from_secs(config.link.heartbeat_every_s),
        started,
    };
    supervisor.keep("health", move || health.clone().run());

    let papers = registrar.clone();
    let first = enrolment.clone();
    supervisor.keep("registrar", move || {
        let (papers, resolver) = (papers.clone(), resolver.clone());
        // After a fall of this part: what is on disk may be newer than what the node started with.
        let current =
            Enrolment::load(&papers.data.enrolment()).ok().flatten().unwrap_or_else(|| first.clone());
        async move { papers.run(current, resolver).await }
    });

    let board = registrar.board.clone();
    let hello = move |lanes: &[LaneState]| Hello {
        software: Text::truncated(SOFTWARE),
        architecture: Text::truncated(std::env::consts::ARCH),
        identity: enrolment.kind,
        epoch,
        time: clock.now_ms(),
        desired_version: board.read().desired_version,
        lanes: lanes.to_vec().try_into().unwrap_or_default(),
    };
    let handles = LinkHandles { outgoing: outgoing_end, incoming, state: link_state, signal };
    let link = Arc::new(Mutex::new(Link::new(link_config, spool, handles, hello)));
    let stop = supervisor.stop_token();
    supervisor.keep("link", move || {
        let (link, stop) = (link.clone(), stop.clone());
        async move {
            let mut link = link.lock().await;
            tokio::select! {
                () = link.run() => {}
                () = stop.cancelled() => {}
            }
        }
    });
    Ok(())
}

fn split_address(address: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = address.rsplit_once(':').with_context(|| format!("`{address}` is not host:port"))?;
    let port = port.parse().with_context(|| format!("`{address}` has no valid port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}
