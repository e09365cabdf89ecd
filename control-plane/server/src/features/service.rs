//! What any service is asked: whether it is alive and ready, the time, metrics, and the root certificate. No
//! route here needs a login, and no answer says anything about a node.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use noderr_broker::Broker;
use noderr_fleet::Fleet;
use noderr_kernel::problems::DATABASE;
use noderr_kernel::{Feature, Json, Kernel, Kind, Problem, Refused};
use noderr_protocol::enrol::ServerTime;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What this feature brings.
pub(super) const FEATURE: Feature<Arc<Service>> = Feature {
    routes,
    problems: &[STOPPING, BROKER],
    metrics: &[("noderr_broker_sessions", "MQTT sessions of this instance")],
    ..Feature::named("service")
};

const STOPPING: Kind = Kind::new(503, "stopping", "this instance is stopping");
const BROKER: Kind = Kind::new(503, "broker", "the broker does not hand messages on");
const DEADLINE: Duration = Duration::from_secs(3);

/// The state of this feature: the whole instance.
pub struct Service {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The state of the fleet.
    pub fleet: Arc<Fleet>,
}

fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
        .routes(routes!(time))
        .routes(routes!(metrics))
        .routes(routes!(authority))
}

/// That this instance is well.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: &'static str,
    version: &'static str,
    instance: uuid::Uuid,
}

fn ok(service: &Service) -> Health {
    Health { status: "ok", version: env!("CARGO_PKG_VERSION"), instance: service.kernel.instance }
}

/// Is the process alive?
#[utoipa::path(get, path = "/health", tag = "service", security(()), responses((status = 200, body = Health)))]
async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    Json(ok(&service))
}

/// Can this instance serve: is it not stopping, does the database answer, does the broker hand messages on?
#[utoipa::path(get, path = "/ready", tag = "service", security(()), responses((status = 200, body = Health), Refused))]
async fn ready(State(service): State<Arc<Service>>) -> Result<Json<Health>, Problem> {
    if service.kernel.stop.is_cancelled() {
        return Err(STOPPING.into());
    }
    let asked = sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(service.kernel.database.system());
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(_)) if !service.kernel.database.has_room() => Err(DATABASE
            .because("the database's disk is nearly full; nodes keep their records until there is room")),
        Ok(Ok(_)) if service.fleet.broker().is_some_and(Broker::is_well) => Ok(Json(ok(&service))),
        Ok(Ok(_)) => Err(BROKER.into()),
        _ => Err(DATABASE.because("the database does not answer")),
    }
}

/// What time is it? For boxes whose own clock is wrong; the certificate of this connection vouches for it.
#[utoipa::path(get, path = "/time", tag = "service", security(()), responses((status = 200, body = ServerTime)))]
async fn time() -> Json<ServerTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(ServerTime { unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) })
}

/// Metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let sessions = service.fleet.broker().and_then(|broker| broker.attached()).map_or(0, |nodes| nodes.len());
    metrics::gauge!("noderr_broker_sessions").set(u32::try_from(sessions).map_or(f64::INFINITY, f64::from));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], service.kernel.metrics.render())
}

/// The network's root certificate, PEM. A certificate that is fetched here must be compared with a copy from
/// elsewhere.
#[utoipa::path(
    get,
    path = "/authority",
    tag = "service",
    security(()),
    responses((status = 200, body = String, content_type = "application/x-pem-file"))
)]
async fn authority(State(service): State<Arc<Service>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], service.fleet.authority.root_pem().to_owned())
}
