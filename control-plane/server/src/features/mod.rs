//! One folder a feature: routes, statements, jobs. Features reach each other through their `mod.rs` only.

pub(crate) mod access;
pub(crate) mod attestation;
pub(crate) mod audit;
pub(crate) mod enrolment;
pub(crate) mod install_tokens;
pub(crate) mod nodes;
pub(crate) mod operators;
pub(crate) mod reports;
pub(crate) mod service;

use crate::app::App;
use crate::http::Problem;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, ServerBuilder};
use utoipa_axum::router::OpenApiRouter;

const MAX_BODY: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// Every route of the API, and the document that describes it.
pub(crate) fn router(app: &App) -> Router {
    let (router, mut document) = OpenApiRouter::with_openapi(document(&app.config.http.public_url))
        .nest(
            "/api/v1",
            OpenApiRouter::new()
                .merge(access::routes())
                .merge(operators::routes())
                .merge(nodes::routes())
                .merge(install_tokens::routes())
                .merge(enrolment::routes())
                .merge(attestation::routes())
                .merge(reports::routes())
                .merge(audit::routes())
                .merge(service::routes()),
        )
        .split_for_parts();
    if let Some(components) = document.components.as_mut() {
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
    let served = axum::Json(document);
    router
        .route("/api/v1/openapi.json", get(move || async move { served.clone() }))
        .fallback(|| async { Problem::not_found("page") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this page does not know that method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::from(anyhow::anyhow!("a handler panicked")).into_response()
        }))
        .with_state(app.clone())
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "too-slow",
            format!("no answer within {} s; ask for less at once, or again later", DEADLINE.as_secs()),
        )
        .into_response(),
    }
}

fn document(url: &str) -> OpenApi {
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Noderr control plane").version(env!("CARGO_PKG_VERSION")).build())
        .servers(Some([ServerBuilder::new().url(url).build()]))
        .build()
}
