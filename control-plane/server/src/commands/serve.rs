//! `noderr-control serve`: the composition root. Makes the channels, builds the parts, runs them together, and stops
//! them in the order in which nothing that was acknowledged is lost.

use crate::app::{App, Instance, unix_now};
use crate::config::Config;
use crate::database::Database;
use crate::features;
use crate::features::enrolment::exchange_key;
use crate::features::nodes::DatabaseAdmission;
use crate::features::reports::{Ingest, keep_partitions};
use crate::http::{self, LoginThrottle};
use crate::tls::{ServerCertificate, api_config};
use crate::{jobs, notices};
use anyhow::{Context as _, ensure};
use metrics_exporter_prometheus::PrometheusBuilder;
use noderr_attestation::VendorRoots;
use noderr_broker::{
    Broker, EmbeddedBroker, EmbeddedConfig, ExternalBroker, ExternalConfig, FenceLimits, Gate, GateLimits,
    UpEvent,
};
use noderr_ca::{Authority, CaKey, FileKey, Pkcs11Config, Pkcs11Key};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);
/// Publications on their way from the sockets to the workers.
const UP_QUEUE: usize = 256;

pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anything is started: what a stop finds half made is ended in order.
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let database = Database::open(&config).await?;
    let served = serve_with(config, database.clone(), terminate, interrupt).await;
    // One that ends well has closed it in its place; one that could not start must not leave PostgreSQL running.
    if served.is_err() {
        database.close().await;
    }
    served
}

async fn serve_with(
    config: Config,
    database: Database,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> anyhow::Result<()> {
    raise_open_files();
    let app = open_app(config, database).await?;
    let certificate = ServerCertificate::issue(&app.authority, &app.config.http.names)?;

    keep_partitions(&app).await.context("cannot make room for telemetry")?;
    let (up, events) = mpsc::channel(UP_QUEUE);
    let ingest = Ingest::start(&app, events);
    let embedded = start_broker(&app, certificate.clone(), up).await?;
    let api = api_config(certificate.clone())?;
    let gate = Gate::bind(app.config.http.listen, Arc::new(api), GateLimits::default())
        .await
        .with_context(|| format!("http.listen: cannot listen on {}", app.config.http.listen))?;
    let crowd = http::Crowd::new(app.config.http.connections, app.config.http.connections_per_address);
    let serving = tokio::spawn(http::serve(gate, crowd, features::router(&app), app.stop.clone()));

    let mut background = start_background(&app, certificate)?;
    tracing::info!(
        instance = %app.id,
        api = app.config.http.public_url,
        broker = app.config.broker.public_address,
        "the control plane is up"
    );

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // None of them ends by itself: one that does has failed, and the init system starts us again.
        ended = background.join_next() => anyhow::bail!("a part of the control plane ended: {ended:?}"),
    }
    tracing::info!("stopping: no new sessions, storing what has come in");
    app.stop.cancel();
    let stopped = async {
        serving.await?;
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        ingest.finish().await;
        background.shutdown().await;
        app.database.close().await;
        Ok(())
    };
    tokio::select! {
        stopped = stopped => stopped.inspect(|()| tracing::info!("stopped")),
        _ = terminate.recv() => anyhow::bail!("told to stop twice: stopped at once"),
        _ = interrupt.recv() => anyhow::bail!("told to stop twice: stopped at once"),
    }
}

/// What goes on beside requests and reports for as long as the instance runs.
fn start_background(app: &App, certificate: Arc<ServerCertificate>) -> anyhow::Result<JoinSet<()>> {
    let mut background = JoinSet::new();
    background.spawn(notices::listen(app.clone()));
    background.spawn(jobs::run(app.clone()));
    background.spawn(renew_certificate(app.clone(), certificate));
    if let Some(cluster) = app.database.private().cloned() {
        fs::write(app.config.data.join("reader-url"), cluster.reader_url())
            .context("cannot write reader-url")?;
        background.spawn(async move { cluster.watch().await });
    }
    Ok(background)
}

async fn open_app(config: Config, database: Database) -> anyhow::Result<App> {
    let authority = open_authority(&config, &database).await?;
    Ok(Arc::new(Instance {
        id: Uuid::now_v7(),
        vendor_roots: vendor_roots(&config)?,
        exchange_key: exchange_key(&database).await.context("cannot read the key of exchanges")?,
        metrics: PrometheusBuilder::new().install_recorder().context("cannot record metrics")?,
        logins: LoginThrottle::default(),
        revocations: Mutex::default(),
        stop: CancellationToken::new(),
        broker: OnceLock::new(),
        authority,
        database,
        config,
    }))
}

/// The broker that is configured. The embedded one is given back too: only it can be stopped.
async fn start_broker(
    app: &App,
    certificate: Arc<ServerCertificate>,
    up: mpsc::Sender<UpEvent>,
) -> anyhow::Result<Option<Arc<EmbeddedBroker>>> {
    let topics = app.config.broker.topics()?;
    let (broker, embedded): (Arc<dyn Broker>, _) = match &app.config.broker.external {
        None => {
            let config = EmbeddedConfig {
                listen: app.config.broker.listen,
                topics,
                root: app.authority.root().clone(),
                certificate,
                gate: GateLimits::default(),
                fence: FenceLimits::default(),
                rates: app.config.broker.rates(),
            };
            let admission = Arc::new(DatabaseAdmission(app.clone()));
            let embedded = Arc::new(EmbeddedBroker::start(config, admission, up).await?);
            (embedded.clone(), Some(embedded))
        }
        Some(external) => {
            let (of, roots) = (app.clone(), external.roots.clone());
            let tls = move || Ok(Arc::new(external_tls(&of, roots.as_deref())?));
            let config = ExternalConfig {
                host: external.host.clone(),
                port: external.port,
                topics,
                client_id: format!("noderr-control-{}", app.id.simple()),
                tls: Box::new(tls),
                session: DAY,
            };
            (Arc::new(ExternalBroker::start(config, up)), None)
        }
    };
    ensure!(app.broker.set(broker).is_ok(), "the broker is started once");
    Ok(embedded)
}

fn external_tls(app: &App, roots: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.add(app.authority.root().clone())?,
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path)? {
                store.add(certificate?)?;
            }
        }
    }
    let identity = app.authority.issue_service("noderr-control", unix_now(), 2 * DAY)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_client_auth_cert(identity.chain, identity.key)?)
}

/// Opens the authority and holds it against what the network's other instances use.
pub(super) async fn open_authority(config: &Config, database: &Database) -> anyhow::Result<Authority> {
    let folder = config.authority.folder.clone().unwrap_or_else(|| config.data.join("authority"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let key: Arc<dyn CaKey> = match &config.authority.pkcs11 {
        None => Arc::new(FileKey::open_or_create(&folder.join("ca.key"))?),
        Some(hsm) => {
            let pin = fs::read_to_string(&hsm.pin_file).with_context(|| {
                format!("authority.pkcs11.pin_file: cannot read {}", hsm.pin_file.display())
            })?;
            Arc::new(Pkcs11Key::open_or_create(Pkcs11Config {
                module: hsm.module.clone(),
                token: hsm.token.clone(),
                key: hsm.key.clone(),
                pin: pin.trim().to_owned(),
            })?)
        }
    };
    let authority = Authority::open(&folder, &config.network, key, unix_now())?;
    let recorded = sqlx::query_scalar!(
        "WITH mine AS (INSERT INTO network (key, value) VALUES ('root', $1) ON CONFLICT DO NOTHING RETURNING value)
         SELECT value AS \"value!\" FROM mine UNION ALL SELECT value FROM network WHERE key = 'root'",
        authority.root_pem()
    )
    .fetch_one(database.system())
    .await?;
    ensure!(
        recorded == authority.root_pem(),
        "the database belongs to a network with another root certificate than {}: copy the folder of the first \
         instance here (authority.folder)",
        folder.display()
    );
    Ok(authority)
}

pub(super) fn vendor_roots(config: &Config) -> anyhow::Result<VendorRoots> {
    let Some(folder) = &config.enrolment.vendor_roots else { return Ok(VendorRoots::default()) };
    let mut certificates = Vec::new();
    for entry in fs::read_dir(folder)
        .with_context(|| format!("enrolment.vendor_roots: cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem" || extension == "crt") {
            for certificate in CertificateDer::pem_file_iter(&path)? {
                certificates.push(certificate.with_context(|| format!("{} is not PEM", path.display()))?);
            }
        }
    }
    ensure!(
        !certificates.is_empty(),
        "enrolment.vendor_roots: {} holds no certificate (.pem, .crt)",
        folder.display()
    );
    Ok(VendorRoots::new(&certificates)?)
}

async fn renew_certificate(app: App, certificate: Arc<ServerCertificate>) {
    loop {
        tokio::time::sleep(DAY).await;
        if let Err(error) = certificate.renew(&app.authority, &app.config.http.names) {
            tracing::error!(
                error = format!("{error:#}"),
                "the server's own certificate could not be renewed"
            );
        }
    }
}

/// Thousands of sessions need thousands of descriptors; the usual soft limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}
