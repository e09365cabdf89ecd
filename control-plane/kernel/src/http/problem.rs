//! RFC 9457 problems: every refusal of the API is a problem. Kinds are stable and for programs; details are
//! for people.

use crate::problems::{DATABASE, INTERNAL, Kind, NOT_FOUND, TOO_SLOW, VALUE};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

impl Kind {
    /// A problem of this kind, with the detail of the case.
    pub fn because(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { kind: self, detail: detail.into(), wait: None }
    }

    /// A problem of this kind that is over after `wait`.
    pub fn after(self, wait: Duration, detail: &str) -> Problem {
        let seconds = wait.as_secs() + 1;
        Problem { kind: self, detail: format!("{detail}; wait {seconds} s").into(), wait: Some(seconds) }
    }
}

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    /// Seconds after which the same request may succeed.
    wait: Option<u64>,
}

/// The body of a refusal, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Stable name of the problem, as a relative reference.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
}

impl Problem {
    /// The problem that the thing called `what` does not exist.
    pub fn not_found(what: &str) -> Self {
        NOT_FOUND.because(format!("there is no such {what}, or it is not yours to see"))
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Self {
        kind.because(kind.meaning)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        // Class 22: a value that passed all our checks and still cannot be stored, such as a NUL in a text.
        if code.as_deref().is_some_and(|code| code.starts_with("22")) {
            tracing::info!(error = &error as &dyn std::error::Error, "a value of a request cannot be stored");
            return VALUE.into();
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the database failed a request");
        match code.as_deref() {
            // A statement, or the wait for a lock, came to its time limit.
            Some("57014" | "55P03") => TOO_SLOW.into(),
            // Serialisation, deadlock, resources, operator's intervention, connection: passing. No code: no connection.
            Some(code) if !["40", "53", "57", "08"].contains(&&code[..2]) => INTERNAL.into(),
            _ => DATABASE.into(),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "a request failed");
        INTERNAL.into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            kind: format!("/problems/{}", self.kind.name),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.detail.into_owned(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.wait {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        response
    }
}

/// The responses of refusals, for the OpenAPI document: any request may be refused, and every refusal is a
/// problem.
pub struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
        let refusal = |about: &str| {
            ResponseBuilder::new()
                .description(about)
                .content("application/problem+json", content.clone())
                .build()
                .into()
        };
        [
            ("4XX", "Refused; the type says why"),
            ("5XX", "The control plane cannot answer now; the type says why"),
        ]
        .into_iter()
        .map(|(status, about)| (status.to_owned(), refusal(about)))
        .collect()
    }
}
