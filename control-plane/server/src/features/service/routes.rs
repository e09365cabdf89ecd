//! Health, readiness, time and metrics. None of them asks who is asking, and none says anything about a node.

use crate::app::App;
use crate::http::{Json, Problem, ProblemBody};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use noderr_broker::Broker;
use noderr_protocol::enrol::ServerTime;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const DEADLINE: Duration = Duration::from_secs(3);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
        .routes(routes!(time))
        .routes(routes!(metrics))
        .routes(routes!(authority))
}

/// How this instance is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: &'static str,
    version: &'static str,
    instance: uuid::Uuid,
}

fn ok(app: &App) -> Health {
    Health { status: "ok", version: env!("CARGO_PKG_VERSION"), instance: app.id }
}

/// Is the process alive?
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, body = Health)))]
async fn health(State(app): State<App>) -> Json<Health> {
    Json(ok(&app))
}

/// Can it serve: is it not about to stop, does the database answer, does the broker hand messages on?
#[utoipa::path(get, path = "/ready", tag = "service",
    responses((status = 200, body = Health), (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn ready(State(app): State<App>) -> Result<Json<Health>, Problem> {
    let unready = |kind, detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail);
    if app.stop.is_cancelled() {
        return Err(unready("stopping", "this instance is stopping"));
    }
    let asked = sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(app.database.system());
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(_)) if app.broker().is_some_and(Broker::is_well) => Ok(Json(ok(&app))),
        Ok(Ok(_)) => Err(unready("broker", "the broker does not hand messages on")),
        _ => Err(unready("database", "the database does not answer")),
    }
}

/// What time is it? For boxes whose own clock is wrong; the certificate of this connection vouches for it.
#[utoipa::path(get, path = "/time", tag = "service", responses((status = 200, body = Object)))]
async fn time() -> Json<ServerTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(ServerTime { unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) })
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let sessions = app.broker().and_then(|broker| broker.attached()).map_or(0, |nodes| nodes.len());
    #[expect(clippy::cast_precision_loss, reason = "a gauge of some thousands")]
    metrics::gauge!("noderr_broker_sessions").set(sessions as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}

/// The network's root certificate, PEM. Whoever fetches it here must check it against what they were given elsewhere.
#[utoipa::path(get, path = "/authority", tag = "service", responses((status = 200, body = String, content_type = "application/x-pem-file")))]
async fn authority(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], app.authority.root_pem().to_owned())
}
