//! Extractors that reject with a [`Problem`]; axum's own extractors reject with plain text.

use super::Problem;
use crate::problems::{BODY, MEDIA_TYPE, PATH, QUERY, TOO_LARGE};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use noderr_protocol::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// A body that is longer is read away from the threads on which everybody else waits.
const LONG: usize = 256 * 1024;

/// A JSON body, of a request or a response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (body, _) = read_json(request, state, Empty::IsRefused).await?;
        Ok(Self(body))
    }
}

/// What an empty body stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// An empty body is an empty object.
    IsAnObject,
    /// An empty body is refused.
    IsRefused,
}

/// Reads a body that is a JSON object; returns the value and the bytes.
pub(super) async fn read_json<S: Send + Sync, T: DeserializeOwned + Send + 'static>(
    request: Request,
    state: &S,
    empty: Empty,
) -> Result<(T, Bytes), Problem> {
    let is_json = is_json(request.headers());
    let bytes = Bytes::from_request(request, state).await?;
    let absent = matches!(bytes.trim_ascii(), b"" | b"null") && empty == Empty::IsAnObject;
    if !is_json && !absent {
        return Err(MEDIA_TYPE.into());
    }
    let text: &[u8] = if absent { b"{}" } else { &bytes };
    // serde would take an array for the fields in their order.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(BODY.because("the body must be a JSON object"));
    }
    if bytes.len() <= LONG {
        return Ok((axum::Json::from_bytes(text)?.0, bytes));
    }
    let read = spawn_blocking(move || Ok((axum::Json::from_bytes(&bytes)?.0, bytes))).await;
    read.map_err(|error| Problem::from(anyhow::Error::from(error)))?
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Path segments.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

/// A path segment that names a node.
pub type NodePath = Path<NodeId>;

/// The parameter `{node}` of a [`NodePath`], for the OpenAPI document.
pub struct NodeParam;

impl IntoParams for NodeParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .pattern(Some("^[0-9a-f]{64}$"))
            .build();
        let node = ParameterBuilder::new()
            .name("node")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The node's id: 64 lowercase hex digits"))
            .schema(Some(schema));
        vec![node.build()]
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE.into(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => MEDIA_TYPE.into(),
            _ => BODY.because(plain(&rejection.body_text())),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE.into(),
            _ => BODY.because(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        QUERY.because(plain(&rejection.body_text()))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        PATH.because(plain(&rejection.body_text()))
    }
}

/// The part of a parser's message that is about the request, without the parser's introduction.
fn plain(text: &str) -> String {
    let prefixes = [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
        "Invalid URL: ",
    ];
    let text = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_is_told_by_its_media_type() {
        let headers = |kind| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(&headers(kind)), "{kind}");
        }
        for kind in ["text/plain", "text/json", ""] {
            assert!(!is_json(&headers(kind)), "{kind}");
        }
    }
}
