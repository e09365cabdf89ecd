//! The composition root: makes the channels, builds the parts, runs them together. All wiring is on this page.

use crate::boot;
use crate::config::Config;
use crate::data::DataFolder;
use crate::health::{Health, feed_watchdog, write_alert};
use crate::probes::disk;
use crate::registrar::{Registrar, open_keys};
use crate::sampler::Sampler;
use crate::status::{Board, StatusServer};
use crate::steward::Steward;
use crate::supervise::Supervisor;
use anyhow::Context as _;
use noderr_identity::{CertificateResolver, Enrolment, NodeKeys, TrustRoots, client_config};
use noderr_link::{Link, LinkConfig, LinkHandles, LinkState, SpoolSignal};
use noderr_protocol::{Alert, AlertCode, Down, Hello, LaneState, Text, Up};
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
    board.update(|status| {
        SOFTWARE.clone_into(&mut status.software);
        status.disk_free_kib = disk(&config.storage.data).free_kib;
    });
    let registrar = Registrar {
        url: config.control_plane.url.clone(),
        deadline: config.deadline(),
        roots: TrustRoots::from_pem(&pem)
            .with_context(|| format!("in {}", config.control_plane.roots.display()))?,
        clock: boot::clock(&data),
        data,
        keys,
        board,
    };
    Ok((Arc::new(registrar), enrolment))
}

/// Runs the node until it is told to stop.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let (registrar, enrolment) = prepare(&config)?;
    let result = run_parts(&config, &registrar, enrolment).await;
    registrar.keys.close();
    result
}

async fn run_parts(
    config: &Config,
    registrar: &Arc<Registrar>,
    enrolment: Option<Enrolment>,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
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
    let watched = registrar.data.pulse().clone();
    supervisor.keep("watchdog", move || feed_watchdog(watched.clone()));

    let enrolment = match enrolment {
        Some(enrolment) => enrolment,
        None => {
            let enrolled = tokio::select! {
                enrolled = registrar.enrol_patiently(config) => enrolled?,
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            };
            let kept = enrolled.clone();
            registrar.data.on_disk(move |data| Ok(kept.save(&data.enrolment())?)).await?;
            tracing::info!(node = %enrolled.node, kind = %enrolled.kind, "enrolled");
            enrolled
        }
    };
    registrar.show(&enrolment);
    start_parts(config, registrar, enrolment, &mut supervisor).await?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).context("cannot notify systemd")?;
    supervisor.stop().await;
    boot::remember(&registrar.data, &registrar.clock)
}

/// Makes the channels between the parts, then starts one part after the other.
async fn start_parts(
    config: &Config,
    registrar: &Arc<Registrar>,
    enrolment: Enrolment,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let floor = enrolment.epoch_floor;
    let epoch = registrar.data.on_disk(move |data| begin_epoch(data, floor)).await?;
    let (spool, signal) = open_spool(config, registrar, epoch).await?;
    let (outgoing, outgoing_end) = mpsc::channel(64);
    let (incoming, incoming_end) = mpsc::channel(64);
    let (link_state, link) = watch::channel(LinkState::Down(None));
    let (every_s, every_s_end) = watch::channel(config.telemetry.sample_every_s);
    registrar.board.update(|status| status.sample_every_s = config.telemetry.sample_every_s);

    let mut parts = Parts { config, registrar, supervisor, spool, signal: signal.clone() };
    parts.steward(every_s, incoming_end, outgoing.clone());
    parts.sampler(every_s_end);
    parts.health(link, outgoing);
    let resolver = parts.registrar(&enrolment)?;
    parts.link(
        enrolment,
        epoch,
        resolver,
        LinkHandles { outgoing: outgoing_end, incoming, state: link_state, signal },
    )
}

fn begin_epoch(data: &DataFolder, floor: u64) -> anyhow::Result<u64> {
    boot::begin(data, floor).or_else(|first| {
        // A full disk must not keep the box from starting: the spool's reserve is for such a day.
        data.give_up_reserve().with_context(|| format!("cannot begin a boot epoch: {first:#}"))?;
        boot::begin(data, floor).context("cannot begin a boot epoch")
    })
}

async fn open_spool(
    config: &Config,
    registrar: &Registrar,
    epoch: u64,
) -> anyhow::Result<(Arc<Spool>, SpoolSignal)> {
    let budget_bytes = config.storage.spool_mib << 20;
    let spool_config = SpoolConfig { path: registrar.data.spool(), epoch, budget_bytes };
    let spool = Arc::new(registrar.data.on_disk(|_| Ok(Spool::open(spool_config)?)).await?);
    let signal = SpoolSignal::default();
    if let Some(aside) = spool.replaced() {
        let detail =
            Text::truncated(&format!("the previous spool was unreadable and lies in {}", aside.display()));
        let alert = Alert { time: registrar.clock.now_ms(), code: AlertCode::SpoolReplaced, detail };
        write_alert(&spool, &signal, alert).await;
    }
    Ok((spool, signal))
}

/// What every part is made from.
struct Parts<'a> {
    config: &'a Config,
    registrar: &'a Arc<Registrar>,
    supervisor: &'a mut Supervisor,
    spool: Arc<Spool>,
    signal: SpoolSignal,
}

impl Parts<'_> {
    fn steward(
        &mut self,
        every_s: watch::Sender<u16>,
        incoming: mpsc::Receiver<Down>,
        outgoing: mpsc::Sender<Up>,
    ) {
        let steward = Steward {
            data: self.registrar.data.clone(),
            keys: self.registrar.keys.clone(),
            board: self.registrar.board.clone(),
            every_s,
            incoming: Arc::new(Mutex::new(incoming)),
            outgoing,
        };
        if let Some(desired) = Steward::remembered(&self.registrar.data) {
            steward.adopt(&desired);
        }
        self.supervisor.keep("steward", move || steward.clone().run());
    }

    fn sampler(&mut self, every_s: watch::Receiver<u16>) {
        let sampler = Sampler {
            data: self.config.storage.data.clone(),
            clock: self.registrar.clock.clone(),
            tpm: match &self.registrar.keys {
                NodeKeys::Tpm(tpm) => Some(tpm.clone()),
                NodeKeys::Software(_) => None,
            },
            spool: self.spool.clone(),
            signal: self.signal.clone(),
            board: self.registrar.board.clone(),
            every_s,
            every_ms: self.config.telemetry.sample_every_ms,
            batch: self.config.telemetry.batch,
            batch_every: Duration::from_secs(self.config.telemetry.batch_every_s),
            pulse: self.registrar.data.pulse().clone(),
            stop: self.supervisor.stop_token(),
        };
        self.supervisor.keep_until_tidy("sampler", move || sampler.clone().run());
    }

    fn health(&mut self, link: watch::Receiver<LinkState>, outgoing: mpsc::Sender<Up>) {
        let health = Health {
            data: self.config.storage.data.clone(),
            keys: self.registrar.keys.clone(),
            clock: self.registrar.clock.clone(),
            spool: self.spool.clone(),
            signal: self.signal.clone(),
            board: self.registrar.board.clone(),
            link,
            outgoing,
            heartbeat_every: Duration::from_secs(self.config.link.heartbeat_every_s),
            started: Instant::now(),
            pulse: self.registrar.data.pulse().clone(),
        };
        self.supervisor.keep("health", move || health.clone().run());
    }

    /// Gives back what always holds the newest certificate.
    fn registrar(&mut self, first: &Enrolment) -> anyhow::Result<Arc<CertificateResolver>> {
        let resolver = CertificateResolver::new(&self.registrar.keys, &first.certificate_chain)?;
        let (registrar, first, renewed) = (self.registrar.clone(), first.clone(), resolver.clone());
        self.supervisor.keep("registrar", move || {
            let (registrar, resolver) = (registrar.clone(), renewed.clone());
            // After a fall of this part: what is on disk may be newer than what the node started with.
            let current =
                Enrolment::load(&registrar.data.enrolment()).ok().flatten().unwrap_or_else(|| first.clone());
            async move { registrar.run(current, resolver).await }
        });
        Ok(resolver)
    }

    fn link(
        self,
        enrolment: Enrolment,
        epoch: u64,
        resolver: Arc<CertificateResolver>,
        handles: LinkHandles,
    ) -> anyhow::Result<()> {
        let (clock, board) = (self.registrar.clock.clone(), self.registrar.board.clone());
        let link = &self.config.link;
        let link_config = LinkConfig {
            broker: split_address(link.broker.as_deref().unwrap_or(&enrolment.broker))?,
            node: enrolment.node,
            topics: self.config.topics()?,
            tls: Arc::new(client_config(&self.registrar.roots, &clock, resolver)?),
            pauses: (Duration::from_millis(500), Duration::from_secs(link.longest_pause_s.max(1))),
        };
        let hello = move |lanes: &[LaneState]| Hello {
            software: Text::truncated(SOFTWARE),
            architecture: Text::truncated(std::env::consts::ARCH),
            identity: enrolment.kind,
            epoch,
            time: clock.now_ms(),
            desired_version: board.read().desired_version,
            lanes: lanes.to_vec().try_into().unwrap_or_default(),
        };
        let link = Arc::new(Mutex::new(Link::new(link_config, self.spool, handles, hello)));
        self.supervisor.keep("link", move || {
            let link = link.clone();
            async move { link.lock().await.run().await }
        });
        Ok(())
    }
}

fn split_address(address: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = address.rsplit_once(':').with_context(|| format!("`{address}` is not host:port"))?;
    let port = port.parse().with_context(|| format!("`{address}` has no valid port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}
