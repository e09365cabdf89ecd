//! The router of the API, made of all features' routes, and the OpenAPI document that describes them.

use super::{Caller, Problem};
use crate::principal::Permissions;
use crate::problems::{Kind, METHOD, THROTTLED, TOO_SLOW};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use noderr_front::Limiter;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Operation, PathItem};
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
    /// What anybody may fetch, beside the API.
    pub files: Vec<Router>,
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
    let counting = Counting { strangers: api.strangers, with_credential: with_credential(&document).into() };
    // Written once: to write it takes milliseconds, and everybody may ask.
    let served = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    router
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], served.clone()) }),
        )
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async { Problem::from(METHOD) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(counting, within_rate))
        .merge(api.files.into_iter().fold(Router::new(), Router::merge))
        .layer(middleware::from_fn(in_time))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::from(anyhow::anyhow!("a handler panicked")).into_response()
        }))
}

/// What requests count against.
#[derive(Clone)]
struct Counting {
    /// The rate of each address.
    strangers: Arc<Limiter<IpAddr>>,
    /// The operations that look at a credential, and count the request for whoever it is.
    with_credential: Arc<BTreeSet<(Method, String)>>,
}

impl Counting {
    /// Whether somebody looks at the request's credential and counts it: where anybody may ask, a header changes nothing.
    fn is_counted_for_a_principal(&self, request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let operation = path.map(|path| (request.method().clone(), path));
        request.headers().contains_key(AUTHORIZATION)
            && operation.is_some_and(|operation| self.with_credential.contains(&operation))
    }
}

/// The operations that only whoever has a credential may ask for, by the document.
fn with_credential(document: &OpenApi) -> BTreeSet<(Method, String)> {
    let of_path = |(path, item): (&String, &PathItem)| {
        let operations = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        let closed = |operation: &Operation| operation.security.is_none();
        let closed = operations.into_iter().filter(|(_, operation)| operation.as_ref().is_some_and(closed));
        closed.map(|(method, _)| (method, path.clone())).collect::<Vec<_>>()
    };
    document.paths.paths.iter().flat_map(of_path).collect()
}

/// Holds requests that nobody else counts to the rate of their address.
async fn within_rate(State(counting): State<Counting>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.0);
    if let Some(address) = caller.filter(|_| !counting.is_counted_for_a_principal(&request))
        && let Err(wait) = counting.strangers.spend(address, Instant::now())
    {
        metrics::counter!("noderr_http_throttled_total").increment(1);
        return THROTTLED
            .after(wait, "too many requests without a credential from this address")
            .into_response();
    }
    next.run(request).await
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
