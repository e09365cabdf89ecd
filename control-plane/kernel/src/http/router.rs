//! The router of the API, made of all features' routes, and the OpenAPI document that describes them.

use super::{Caller, Problem};
use crate::principal::Permissions;
use crate::problems::{Kind, METHOD, THROTTLED, TOO_SLOW};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use noderr_front::Limiter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::PartialSchema as _;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, RefOr, ServerBuilder};
use utoipa_axum::router::OpenApiRouter;

/// The largest body, unless a route takes larger ones.
const MAX_BODY: usize = 64 * 1024;
const DEADLINE: Duration = Duration::from_secs(30);

/// The parts of the API.
pub struct Api<'a> {
    /// The features' routes.
    pub routes: Vec<OpenApiRouter>,
    /// The features' kinds of problems; the kernel adds its own.
    pub problems: Vec<Kind>,
    /// The rate of each address whose requests carry no credential that counts.
    pub strangers: Arc<Limiter<IpAddr>>,
    /// All permissions.
    pub permissions: &'a Permissions,
    /// How people and nodes reach the API.
    pub public_url: &'a str,
    /// The version of the program.
    pub version: &'a str,
}

/// Every route of the API, and the document that describes them, under `/api/v1`.
pub fn router(api: Api<'_>) -> Router {
    let routes = api.routes.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge);
    let (router, mut document) = OpenApiRouter::with_openapi(document(api.public_url, api.version))
        .nest("/api/v1", routes)
        .split_for_parts();
    describe(&mut document, &api.problems, api.permissions);
    // Written once: to write it takes milliseconds, and everybody may ask.
    let served = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    router
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], served.clone()) }),
        )
        .fallback(|| async { Problem::not_found("page") })
        .method_not_allowed_fallback(|| async { Problem::from(METHOD) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.strangers, within_rate))
        .layer(middleware::from_fn(in_time))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::from(anyhow::anyhow!("a handler panicked")).into_response()
        }))
}

/// Holds requests that carry no credential to the rate of their address; those that carry one are counted for whoever it is.
async fn within_rate(
    State(strangers): State<Arc<Limiter<IpAddr>>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.0);
    if let Some(address) = caller.filter(|_| !carries_credential(&request))
        && let Err(wait) = strangers.spend(address, Instant::now())
    {
        metrics::counter!("noderr_http_throttled_total").increment(1);
        return THROTTLED
            .after(wait, "too many requests without a credential from this address")
            .into_response();
    }
    next.run(request).await
}

/// Whether somebody looks at the request's credential, and counts it: on a page that anybody may ask for, a header changes nothing.
fn carries_credential(request: &Request) -> bool {
    let open =
        ["/enrol", "/sessions", "/time", "/authority", "/openapi.json", "/health", "/ready", "/metrics"];
    let path = request.uri().path().trim_start_matches("/api/v1");
    let is_open = open.iter().any(|open| path == *open || (*open == "/enrol" && path.starts_with(open)));
    request.headers().contains_key(AUTHORIZATION) && !is_open
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(TOO_SLOW).into_response(),
    }
}

fn document(url: &str, version: &str) -> OpenApi {
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Noderr control plane").version(version).build())
        .servers(Some([ServerBuilder::new().url(url).build()]))
        .security(Some([SecurityRequirement::new("bearer", [""; 0])]))
        .build()
}

/// Adds to the document what only the composition root knows: all kinds of problems and all permissions.
fn describe(document: &mut OpenApi, problems: &[Kind], permissions: &Permissions) {
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let kinds = crate::problems::ALL.iter().chain(problems);
    let kinds: Vec<_> = kinds.map(|kind| (format!("/problems/{}", kind.name), kind.meaning)).collect();
    let mut problem = super::ProblemBody::schema();
    if let RefOr::T(Schema::Object(object)) = &mut problem {
        object.properties.insert("type".to_owned(), enumeration("Stable name of the problem", &kinds));
    }
    components.schemas.insert("ProblemBody".to_owned(), problem);
    let names: Vec<_> =
        permissions.all().iter().map(|permission| (permission.name.to_owned(), permission.about)).collect();
    components.schemas.insert("Permission".to_owned(), enumeration("What may be allowed", &names));
}

fn enumeration(about: &str, values: &[(String, &str)]) -> RefOr<Schema> {
    let lines: Vec<_> = values.iter().map(|(name, meaning)| format!("- `{name}`: {meaning}")).collect();
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(format!("{about}:\n{}", lines.join("\n"))))
        .enum_values(Some(values.iter().map(|(name, _)| name.clone())))
        .build();
    Schema::Object(schema).into()
}
