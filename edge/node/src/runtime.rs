//! The composition root: makes the channels, builds the parts, runs them together. All wiring is on this page.

use crate::config::Config;
use crate::desired::Desired;
use crate::health::feed_watchdog;
use crate::outbox::Outbox;
use crate::registrar::{Registrar, open_keys};
use crate::shared::Shared;
use crate::status::{Board, StatusServer};
use crate::{attester, base, boot, health, inbox, keeper, sampler};
use anyhow::Context as _;
use noderr_identity::{CertificateResolver, Enrolment, TrustRoots, client_config};
use noderr_link::{Link, LinkConfig, LinkHandles, LinkState, SpoolSignal};
use noderr_part::{Disk, Folder, Supervisor};
use noderr_protocol::{
    AlertCode, Base, Hello, KnownSection, LaneState, SectionBody as _, Text, WIRE_VERSION,
};
use noderr_spool::{Spool, SpoolConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};

/// The sections that a part of this build does.
const SUPPORTED_SECTIONS: &[KnownSection] = &[Base::KNOWN];

pub(crate) const SOFTWARE: &str = concat!("noderr-node ", env!("CARGO_PKG_VERSION"));

/// Opens the data folder, the enrolment and the keys, with which both `run` and `enrol` begin.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<(Arc<Registrar>, Option<Enrolment>)> {
    let data = Arc::new(Folder::open(&config.storage.data)?);
    let enrolment = Enrolment::load(&data)?;
    let keys = open_keys(config, &data, enrolment.as_ref())?;
    let pem = match &enrolment {
        Some(enrolment) => enrolment.trust_roots.clone(),
        None => config.roots_pem()?,
    };
    let board = Board::default();
    board.update(|status| {
        SOFTWARE.clone_into(&mut status.software);
        status.disk_free_kib = Disk::of(&config.storage.data).map_or(0, |disk| disk.free / 1024);
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
pub(crate) async fn run(config: Arc<Config>) -> anyhow::Result<()> {
    let (registrar, enrolment) = prepare(&config)?;
    let result = run_parts(&config, &registrar, enrolment).await;
    registrar.keys.close();
    result
}

async fn run_parts(
    config: &Arc<Config>,
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
            registrar.data.on_disk(move |data| anyhow::Ok(kept.save(data)?)).await?;
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
    Ok(boot::remember(&registrar.data, &registrar.clock)?)
}

/// Makes what the parts share, then starts one part after the other.
async fn start_parts(
    config: &Arc<Config>,
    registrar: &Arc<Registrar>,
    enrolment: Enrolment,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let floor = enrolment.epoch_floor;
    let spool_folder = config.storage.data.join("spool");
    let begun = spool_folder.clone();
    let epoch = registrar.data.on_disk(move |data| anyhow::Ok(begin_epoch(data, floor, &begun))).await?;
    let outbox = open_outbox(config, registrar, spool_folder, epoch).await?;
    let (outgoing, outgoing_end) = mpsc::channel(64);
    let (incoming, incoming_end) = mpsc::channel(64);
    let (link_state, link) = watch::channel(LinkState::Down(None));
    let desired = Desired::new(registrar.data.read_or_default(), SUPPORTED_SECTIONS);
    registrar.board.update(|status| {
        status.sample_every_s = config.telemetry.sample_every_s;
        status.desired_version = desired.version();
    });
    let shared = Shared {
        config: config.clone(),
        data: registrar.data.clone(),
        keys: registrar.keys.clone(),
        clock: registrar.clock.clone(),
        board: registrar.board.clone(),
        outbox: outbox.clone(),
        desired: desired.clone(),
        sample_every_s: watch::Sender::new(config.telemetry.sample_every_s),
        challenge: watch::Sender::new(None),
        incoming: Arc::new(Mutex::new(incoming_end)),
        outgoing,
        link,
        started: Instant::now(),
        stop: supervisor.stop_token(),
    };
    supervisor.keep("inbox", shared.part(inbox::run));
    supervisor.keep("keeper", shared.part(keeper::run));
    supervisor.keep("base", shared.part(base::run));
    supervisor.keep("attester", shared.part(attester::run));
    supervisor.keep_until_tidy("sampler", shared.part(sampler::run));
    supervisor.keep("health", shared.part(health::run));
    let resolver = keep_certificate_fresh(registrar, &enrolment, supervisor)?;
    let handles = LinkHandles {
        outgoing: outgoing_end,
        incoming,
        actual: desired.actual(),
        state: link_state,
        signal: outbox.signal.clone(),
    };
    keep_link(&shared, registrar, enrolment, (epoch, resolver, handles), supervisor)
}

/// Begins a boot epoch even on a full disk, which must not keep the box from starting: the spool's reserve is
/// given up for it, and if that is spent already, the epoch counts without being written down.
fn begin_epoch(data: &Folder, floor: u64, spool: &Path) -> u64 {
    boot::begin(data, floor)
        .or_else(|error| {
            tracing::warn!(%error, "no boot epoch can be written down; giving up the reserve");
            if let Err(error) = Spool::give_up_reserve(spool) {
                tracing::warn!(%error, "there is no reserve to give up");
            }
            boot::begin(data, floor)
        })
        .unwrap_or_else(|error| {
            tracing::error!(%error, "this boot epoch is not written down");
            boot::next(data, floor)
        })
}

/// Puts down what the spool may take, and warns of a disk that is too small for all claims: the spool will then be cut short
/// by the disk instead of by its budget.
fn claim_disk(registrar: &Registrar, spool_bytes: u64) {
    let (ledger, data) = (registrar.data.ledger(), registrar.data.root());
    ledger.claim("spool", spool_bytes.saturating_add(noderr_spool::SET_ASIDE));
    registrar.board.update(|status| status.disk_claims_kib = ledger.claims().values().sum::<u64>() / 1024);
    if let Ok(disk) = Disk::of(data)
        && let Some(excess) = ledger.excess(disk.total)
    {
        let excess_mib = (excess >> 20) + 1;
        tracing::warn!(
            excess_mib,
            "the disk is smaller than what storage.spool_mib allows the spool to take"
        );
    }
}

async fn open_outbox(
    config: &Config,
    registrar: &Registrar,
    path: PathBuf,
    epoch: u64,
) -> anyhow::Result<Outbox> {
    let budget_bytes = config.storage.spool_mib << 20;
    claim_disk(registrar, budget_bytes);
    let spool_config = SpoolConfig { path, epoch, budget_bytes };
    let spool = registrar.data.on_disk(|_| anyhow::Ok(Spool::open(spool_config)?)).await?;
    let pulse = registrar.data.pulse().clone();
    let outbox = Outbox { spool: Arc::new(spool), signal: SpoolSignal::default(), pulse };
    if let Some(aside) = outbox.spool.replaced() {
        let detail = format!("the previous spool was unreadable and lies in {}", aside.display());
        outbox.alert(registrar.clock.now_ms(), AlertCode::SpoolReplaced, &detail).await;
    }
    Ok(outbox)
}

/// Returns the resolver that always serves the newest certificate.
fn keep_certificate_fresh(
    registrar: &Arc<Registrar>,
    first: &Enrolment,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Arc<CertificateResolver>> {
    let resolver = CertificateResolver::new(&registrar.keys, &first.certificate_chain)?;
    let (registrar, first, renewed) = (registrar.clone(), first.clone(), resolver.clone());
    supervisor.keep("registrar", move || {
        let (registrar, resolver) = (registrar.clone(), renewed.clone());
        // When the part is started again, the enrolment on the disk may be newer than the one the node
        // started with.
        let current = Enrolment::load(&registrar.data).ok().flatten().unwrap_or_else(|| first.clone());
        async move { registrar.run(current, resolver).await }
    });
    Ok(resolver)
}

fn keep_link(
    shared: &Shared,
    registrar: &Registrar,
    enrolment: Enrolment,
    (epoch, resolver, handles): (u64, Arc<CertificateResolver>, LinkHandles),
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let settings = &shared.config.link;
    let link_config = LinkConfig {
        broker: split_address(settings.broker.as_deref().unwrap_or(&enrolment.broker))?,
        node: enrolment.node,
        topics: shared.config.topics()?,
        tls: Arc::new(client_config(&registrar.roots, &shared.clock, resolver)?),
        pauses: (Duration::from_millis(500), Duration::from_secs(settings.longest_pause_s.max(1))),
    };
    let (clock, desired) = (shared.clock.clone(), shared.desired.clone());
    let hello = move |lanes: &[LaneState]| Hello {
        software: Text::truncated(SOFTWARE),
        architecture: Text::truncated(std::env::consts::ARCH),
        speaks: WIRE_VERSION,
        knows: desired.knows().to_vec().try_into().unwrap_or_default(),
        facts: Default::default(),
        epoch,
        time: clock.now_ms(),
        desired_version: desired.version(),
        lanes: lanes.to_vec().try_into().unwrap_or_default(),
    };
    let link = Arc::new(Mutex::new(Link::new(link_config, shared.outbox.spool.clone(), handles, hello)));
    supervisor.keep("link", move || {
        let link = link.clone();
        async move { link.lock().await.run().await }
    });
    Ok(())
}

fn split_address(address: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = address.rsplit_once(':').with_context(|| format!("`{address}` is not host:port"))?;
    let port = port.parse().with_context(|| format!("`{address}` has no valid port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}
