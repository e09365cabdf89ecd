//! The composition root: makes the channels, builds the parts, runs them together. All wiring is on this page.

use crate::config::Config;
use crate::desired::Desired;
use crate::health::feed_watchdog;
use crate::outbox::Outbox;
use crate::registrar::{Registrar, open_keys};
use crate::shared::Shared;
use crate::status::Board;
use crate::{
    attester, base, boot, event_log, health, inbox, keeper, quarantine, releases, sampler, status, storage,
};
use anyhow::Context as _;
use noderr_identity::{Enrolment, Papers, TrustRoots};
use noderr_link::{Link, LinkConfig, LinkHandles, LinkState, SpoolSignal};
use noderr_part::{Disk, Ending, Folder, Supervisor};
use noderr_protocol::release::Releases;
use noderr_protocol::{
    Base, Hello, KnownSection, LaneState, Quarantine, SectionBody as _, Text, WIRE_VERSION,
};
use noderr_spool::{Spool, SpoolConfig};
use noderr_update::Known;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};

/// The sections that a part of this build does.
const SUPPORTED_SECTIONS: &[KnownSection] = &[Base::KNOWN, Quarantine::KNOWN, Releases::KNOWN];

/// How long the link waits for the spool to open.
const OPENING: Duration = Duration::from_secs(10);

pub(crate) const SOFTWARE: &str = concat!("noderr-node ", env!("CARGO_PKG_VERSION"));

/// Opens the data folder, the papers and the keys, with which both `run` and `enrol` begin.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<(Arc<Registrar>, Option<Papers>)> {
    let data = Arc::new(Folder::open(&config.storage.data)?);
    let place = || format!("in {}", config.control_plane.roots.display());
    let configured = config.roots_pem().and_then(|pem| TrustRoots::from_pem(&pem).with_context(place));
    let papers = kept_papers(&data, configured.as_ref().ok());
    let configured = match (configured, &papers) {
        (Ok(roots), _) => Some(roots),
        (Err(_), Some(_)) => None,
        (Err(error), None) => return Err(error),
    };
    let keys = open_keys(config, &data, papers.as_ref().map(|papers| &papers.enrolment))?;
    let board = Board::default();
    board.update(|status| {
        SOFTWARE.clone_into(&mut status.software);
        status.disk_free_kib = Disk::of(&config.storage.data).map_or(0, |disk| disk.free / 1024);
    });
    let registrar = Registrar {
        url: config.control_plane.url.clone(),
        event_log: config.identity.event_log.clone(),
        deadline: config.deadline(),
        configured,
        clock: boot::clock(&data, Duration::from_secs(config.control_plane.clock_patience_s)),
        data,
        keys,
        board,
    };
    Ok((Arc::new(registrar), papers))
}

/// The newest papers that can be used whole, or what can be made of the newest there are. A box whose papers are all gone
/// begins as one that is not enrolled.
fn kept_papers(data: &Folder, configured: Option<&TrustRoots>) -> Option<Papers> {
    let copies = data.read_copies::<Enrolment>();
    let whole = copies.iter().find_map(|copy| {
        Papers::of(copy.clone())
            .inspect_err(|error| tracing::error!(%error, "papers on the disk cannot be used"))
            .ok()
    });
    whole.or_else(|| Papers::salvaged(copies.into_iter().next()?, configured))
}

/// Runs the node until it is told to stop, or a part orders the end; returns why it ends.
pub(crate) async fn run(config: Arc<Config>) -> anyhow::Result<Ending> {
    let (registrar, papers) = prepare(&config)?;
    let mut supervisor = Supervisor::default();
    obey_signals(&supervisor)?;
    let (socket, board) = (config.status.socket.clone(), registrar.board.clone());
    supervisor.keep("status", move || status::run(socket.clone(), board.clone()));
    tell_systemd(sd_notify::NotifyState::Ready);
    let watched = registrar.data.pulse().clone();
    supervisor.keep("watchdog", move || feed_watchdog(watched.clone()));

    let papers = match papers {
        Some(papers) => papers,
        None => tokio::select! {
            enrolled = registrar.enrol_patiently(&config) => enrolled?,
            ending = supervisor.ordered() => return Ok(ending),
        },
    };
    tracing::info!(node = %papers.enrolment.node, kind = %papers.enrolment.kind, "this is the node");
    registrar.show(&papers.enrolment);
    start_parts(&config, &registrar, papers, &mut supervisor).await?;

    let ending = supervisor.ordered().await;
    tracing::info!(?ending, "stopping");
    tell_systemd(sd_notify::NotifyState::Stopping);
    supervisor.stop().await;
    if let Err(error) = boot::remember(&registrar.data, &registrar.clock) {
        tracing::warn!(%error, "the time cannot be remembered across a start");
    }
    Ok(ending)
}

/// Ends the process in order on SIGTERM and SIGINT, and on SIGHUP for another start.
fn obey_signals(supervisor: &Supervisor) -> anyhow::Result<()> {
    let orders = [
        (SignalKind::terminate(), Ending::Stop),
        (SignalKind::interrupt(), Ending::Stop),
        (SignalKind::hangup(), Ending::Restart),
    ];
    for (kind, ending) in orders {
        let (mut signals, order) = (signal(kind)?, supervisor.end_order());
        tokio::spawn(async move {
            signals.recv().await;
            order.give(ending);
        });
    }
    Ok(())
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// Makes what the parts share, then starts one part after the other.
async fn start_parts(
    config: &Arc<Config>,
    registrar: &Arc<Registrar>,
    papers: Papers,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let floor = papers.enrolment.epoch_floor;
    let spool_folder = config.storage.data.join("spool");
    let begun = spool_folder.clone();
    let epoch = registrar.data.on_disk(move |data| anyhow::Ok(begin_epoch(data, floor, &begun))).await?;
    let budget_bytes = config.storage.spool_mib << 20;
    claim_disk(registrar, budget_bytes, config.releases.store_mib << 20);
    let spool =
        Arc::new(Spool::closed(SpoolConfig { budget_bytes, ..SpoolConfig::new(spool_folder, epoch) }));
    let pulse = registrar.data.pulse().clone();
    let outbox = Outbox { spool, signal: SpoolSignal::default(), refused: Arc::default(), pulse };
    let (outgoing, outgoing_end) = mpsc::channel(64);
    let (incoming, incoming_end) = mpsc::channel(64);
    let (link_state, link) = watch::channel(LinkState::Down(None));
    let desired = Desired::new(registrar.data.read_or_default(), SUPPORTED_SECTIONS);
    registrar.board.update(|status| {
        status.sample_every_s = config.telemetry.sample_every_s;
        status.desired_version = desired.version();
    });
    let papers = watch::Sender::new(Arc::new(papers));
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
        wanted_log: watch::Sender::new(None),
        incoming: Arc::new(Mutex::new(incoming_end)),
        outgoing,
        link,
        papers: papers.subscribe(),
        known: Known::default(),
        stop: supervisor.stop_token(),
    };
    open_spool(&shared).await;
    keep_workers(&shared, supervisor);
    let handles = LinkHandles {
        papers: papers.subscribe(),
        outgoing: outgoing_end,
        incoming,
        actual: desired.actual(),
        state: link_state,
        signal: outbox.signal.clone(),
    };
    let (registrar, link) = (registrar.clone(), shared.link.clone());
    supervisor.keep("registrar", move || {
        let (registrar, papers, link) = (registrar.clone(), papers.clone(), link.clone());
        async move { registrar.run(papers, link).await }
    });
    keep_link(&shared, epoch, handles, supervisor)
}

/// Opens the spool. A disk that takes longer than [`OPENING`] takes the rest of its time beside everything else.
async fn open_spool(shared: &Shared) {
    let opening = tokio::spawn(storage::open(shared.clone()));
    if tokio::time::timeout(OPENING, opening).await.is_err() {
        tracing::warn!("the spool takes long to open; the node goes on without it meanwhile");
    }
}

/// Keeps the parts that need nothing but what is shared.
fn keep_workers(shared: &Shared, supervisor: &mut Supervisor) {
    supervisor.keep("storage", shared.part(storage::run));
    supervisor.keep("inbox", shared.part(inbox::run));
    supervisor.keep("keeper", shared.part(keeper::run));
    supervisor.keep("base", shared.part(base::run));
    supervisor.keep("quarantine", shared.part(quarantine::run));
    supervisor.keep("releases", shared.part(releases::run));
    supervisor.keep("attester", shared.part(attester::run));
    supervisor.keep("event-log", shared.part(event_log::run));
    supervisor.keep_until_tidy("sampler", shared.part(sampler::run));
    supervisor.keep("health", shared.part(health::run));
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
fn claim_disk(registrar: &Registrar, spool_bytes: u64, release_bytes: u64) {
    let (ledger, data) = (registrar.data.ledger(), registrar.data.root());
    ledger.claim("spool", spool_bytes.saturating_add(noderr_spool::RESERVE));
    ledger.claim("releases", release_bytes);
    registrar.board.update(|status| status.disk_claims_kib = ledger.claims().values().sum::<u64>() / 1024);
    if let Ok(disk) = Disk::of(data)
        && let Some(excess) = ledger.excess(disk.total)
    {
        let excess_mib = (excess >> 20) + 1;
        tracing::warn!(
            excess_mib,
            "the disk is smaller than what storage.spool_mib and releases.store_mib allow to be taken"
        );
    }
}

fn keep_link(
    shared: &Shared,
    epoch: u64,
    handles: LinkHandles,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let settings = &shared.config.link;
    let link_config = LinkConfig {
        broker: settings.broker.as_deref().map(str::parse).transpose()?,
        topics: shared.config.topics()?,
        keys: shared.keys.clone(),
        clock: shared.clock.clone(),
        pauses: (Duration::from_millis(500), Duration::from_secs(settings.longest_pause_s)),
    };
    let (clock, desired) = (shared.clock.clone(), shared.desired.clone());
    let facts: Vec<_> = releases::hardware_fact(&shared.config).into_iter().collect();
    let hello = move |lanes: &[LaneState]| Hello {
        software: Text::truncated(SOFTWARE),
        architecture: Text::truncated(std::env::consts::ARCH),
        speaks: WIRE_VERSION,
        knows: desired.knows().to_vec().try_into().unwrap_or_default(),
        facts: facts.clone().try_into().unwrap_or_default(),
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
