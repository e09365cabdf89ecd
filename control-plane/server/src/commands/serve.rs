//! `noderr-control serve`: makes the channels, builds the parts, runs them together, and stops them in the order in which
//! nothing that was acknowledged is lost.

use crate::MIGRATIONS;
use crate::features::load_configuration;
use crate::plane::{Background, Plane};
use crate::tls::{ServerCertificate, api_config, check_names};
use anyhow::Context as _;
use axum::Router;
use noderr_ca::Authority;
use noderr_fleet::reports::{self, Ingest};
use noderr_fleet::{FleetSettings, open_authority, start_broker};
use noderr_front::{Crowd, CrowdLimits, Gate, GateLimits, TrustedProxies};
use noderr_kernel::{Configuration, Database, HttpSettings, Kernel, listen, run_schedule, work};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);

/// Serves until SIGTERM or Ctrl-C.
pub(super) async fn serve(config: Option<&Path>) -> anyhow::Result<()> {
    let configuration = load_configuration(config)?;
    // Signals are listened to before anything is started, so that a stop during the start ends everything in
    // order.
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    check_names(&configuration.section()?, &FleetSettings::read(&configuration)?.broker)?;
    let database = Database::migrate(configuration.base(), &configuration.section()?, &MIGRATIONS).await?;
    let served = serve_with(&configuration, database.clone(), terminate, interrupt).await;
    // A clean stop has closed the database already. After a failed start it is closed here, or PostgreSQL would be left
    // running.
    if served.is_err() {
        database.close().await;
    }
    served
}

async fn serve_with(
    configuration: &Configuration,
    database: Database,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> anyhow::Result<()> {
    raise_open_files();
    let authority = Arc::new(open_authority(&FleetSettings::read(configuration)?, &database).await?);
    let Plane { kernel, fleet, http, router, background } =
        Plane::open(configuration, database.clone(), authority.clone()).await?;
    let certificate = ServerCertificate::issue(&authority, &http.names)?;

    reports::prepare(&database, &fleet.settings.telemetry).await.context("cannot make room for telemetry")?;
    let (up, mut ingest) = Ingest::start(&fleet);
    let embedded = start_broker(&fleet, certificate.clone(), up).await?;
    let mut serving = serve_api(&http, certificate.clone(), router, kernel.stop.clone()).await?;

    let mut parts = start_background(&kernel, background);
    parts.spawn(renew_certificate(authority, certificate, http.names));
    let watched = database.clone();
    parts.spawn(async move { watched.watch().await });
    if let Some(url) = database.reader_url() {
        fs::write(configuration.base().data.join("reader-url"), url).context("cannot write reader-url")?;
    }
    tracing::info!(
        instance = %kernel.instance,
        api = http.public_url,
        broker = fleet.settings.broker.address_of_nodes(),
        "the control plane is up"
    );

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // No part ends by itself: a part that ended has failed, and the init system starts the control plane
        // again.
        ended = parts.join_next() => anyhow::bail!("a part of the control plane ended: {ended:?}"),
        ended = &mut serving => anyhow::bail!("the API ended: {ended:?}"),
        ended = ingest.ended() => anyhow::bail!("a worker that stores reports ended: {ended}"),
    }
    tracing::info!("stopping: no new sessions, storing the last reports");
    kernel.stop.cancel();
    let stopped = async {
        serving.await?;
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        ingest.finish().await;
        parts.shutdown().await;
        database.close().await;
        Ok(())
    };
    tokio::select! {
        stopped = stopped => stopped.inspect(|()| tracing::info!("stopped")),
        _ = terminate.recv() => anyhow::bail!("told to stop twice: stopped at once"),
        _ = interrupt.recv() => anyhow::bail!("told to stop twice: stopped at once"),
    }
}

/// Starts to answer requests.
async fn serve_api(
    http: &HttpSettings,
    certificate: Arc<ServerCertificate>,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let proxies = TrustedProxies::new(http.trusted_proxies.clone());
    let gate = Gate::bind(http.listen, Arc::new(api_config(certificate)?), GateLimits::default(), proxies)
        .await
        .with_context(|| format!("http.listen: cannot listen on {}", http.listen))?;
    let crowd = Crowd::new(CrowdLimits { most: http.connections, per_address: http.connections_per_address });
    Ok(tokio::spawn(noderr_kernel::serve(gate, crowd, router, stop)))
}

/// Starts everything that runs beside requests and reports for as long as the instance runs.
fn start_background(kernel: &Arc<Kernel>, background: Background) -> JoinSet<()> {
    let Background { jobs, queues, listeners, rounds } = background;
    let mut parts = JoinSet::new();
    parts.spawn(listen(kernel.clone(), listeners, rounds));
    parts.spawn(run_schedule(kernel.clone(), jobs));
    parts.spawn(work::run_queues(kernel.clone(), queues));
    parts
}

async fn renew_certificate(
    authority: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    names: Vec<String>,
) {
    loop {
        tokio::time::sleep(DAY).await;
        if let Err(error) = certificate.renew(&authority, &names) {
            tracing::error!(
                error = format!("{error:#}"),
                "the server's own certificate could not be renewed"
            );
        }
    }
}

/// Raises the limit of open files: thousands of sessions need thousands of descriptors, and the usual soft
/// limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}
