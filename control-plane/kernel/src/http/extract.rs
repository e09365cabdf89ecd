//! Extractors that reject with a [`Problem`]; axum's own reject with plain text.

use super::Problem;
use crate::problems::{BODY, MEDIA_TYPE, PATH, QUERY, TOO_LARGE};
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use noderr_protocol::NodeId;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// A JSON body, in and out.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub struct Json<T>(pub T);

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

/// For the OpenAPI document: the parameter of a [`NodePath`], `{node}`.
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

/// The part of a parser's message that speaks of the request, without the parser's own words before it.
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
