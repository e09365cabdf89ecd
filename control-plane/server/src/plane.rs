//! Opens an instance: makes the kernel and the areas, and binds their features together.

use crate::features::{self, Service};
use axum::Router;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use noderr_ca::Authority;
use noderr_fleet::{Fleet, FleetSettings};
use noderr_front::{Limiter, Rate};
use noderr_kernel::{
    Api, Configuration, Database, EndOverdue, ForgetExpired, HttpSettings, Kernel, NoticeBus, Permissions,
    Plugged, Recognised, ScheduledJob, plug,
};
use noderr_people::{Credentials, People};
use noderr_supply::Supply;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many principals the limiter of requests remembers.
const PRINCIPALS: usize = 10_000;
/// Addresses whose rate is remembered.
const ADDRESSES: usize = 100_000;

/// One instance.
pub struct Plane {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The state of the fleet.
    pub fleet: Arc<Fleet>,
    /// The settings of the API.
    pub http: HttpSettings,
    /// The whole API.
    pub router: Router,
    /// Everything that runs beside requests.
    pub background: Background,
}

/// Everything that the features do beside answering requests.
pub struct Background {
    /// The features' jobs.
    pub jobs: Vec<ScheduledJob>,
    /// The features' queues.
    pub queues: Vec<noderr_kernel::work::WorkedQueue>,
    /// The features' listeners to notices.
    pub listeners: Vec<noderr_kernel::Listener>,
    /// What the features look at in case a notice was missed.
    pub rounds: Vec<noderr_kernel::CatchUpRound>,
}

impl Plane {
    /// Opens an instance on a database that is of this version.
    pub async fn open(
        configuration: &Configuration,
        database: Database,
        authority: Arc<Authority>,
    ) -> anyhow::Result<Self> {
        let declared = features::declared();
        let http: HttpSettings = configuration.section()?;
        let rate = |per_second: u32| Rate { per_second, burst: per_second.saturating_mul(10) };
        let kernel = Arc::new(Kernel {
            instance: Uuid::now_v7(),
            authenticate: Box::new(Credentials(database.clone())),
            database,
            permissions: Permissions::new(declared.permissions),
            asking: Limiter::new(rate(http.requests_per_s), PRINCIPALS),
            strangers: Arc::new(Limiter::new(rate(http.strangers_per_s), ADDRESSES)),
            recognised: Recognised::default(),
            notices: NoticeBus::default(),
            hooks: OnceLock::new(),
            metrics: recorder(&declared.metrics)?,
            stop: CancellationToken::new(),
        });
        let people = Arc::new(People::new(kernel.clone()));
        let fleet =
            Arc::new(Fleet::open(kernel.clone(), FleetSettings::read(configuration)?, authority).await?);
        let supply = Arc::new(Supply::open(kernel.clone(), configuration).await?);
        let service = Arc::new(Service { kernel: kernel.clone(), fleet: fleet.clone() });

        let mut plugged = Plugged::default();
        plug(&mut plugged, features::KERNEL, &kernel);
        plug(&mut plugged, features::PEOPLE, &people);
        plug(&mut plugged, features::FLEET, &fleet);
        plug(&mut plugged, features::SUPPLY, &supply);
        plug(&mut plugged, features::SERVICE, &service);
        let Plugged { routes, files, mut jobs, queues, listeners, rounds, hooks, forgets } = plugged;
        anyhow::ensure!(kernel.hooks.set(hooks).is_ok(), "features are plugged in once");
        jobs.push(ScheduledJob::new(ForgetExpired(forgets), kernel.clone()));
        jobs.push(ScheduledJob::new(EndOverdue, kernel.clone()));
        let router = noderr_kernel::router(Api {
            routes,
            files,
            problems: declared.problems,
            strangers: kernel.strangers.clone(),
            permissions: &kernel.permissions,
            public_url: &http.public_url,
            version: env!("CARGO_PKG_VERSION"),
        });
        Ok(Self { kernel, fleet, http, router, background: Background { jobs, queues, listeners, rounds } })
    }
}

/// The process's recorder of metrics, with a description of each metric.
fn recorder(described: &[(&'static str, &'static str)]) -> anyhow::Result<PrometheusHandle> {
    static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().install_recorder()?;
    for (name, help) in described.iter().chain(noderr_front::METRICS) {
        if name.ends_with("_total") {
            metrics::describe_counter!(*name, *help);
        } else {
            metrics::describe_gauge!(*name, *help);
        }
    }
    *recorder = Some(handle.clone());
    Ok(handle)
}
