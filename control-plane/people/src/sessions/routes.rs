//! The API of sessions.

use super::acts::{self, Person};
use crate::People;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{Caller, Json, Principal, Problem, Refused};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<People>> {
    OpenApiRouter::new().routes(routes!(log_in)).routes(routes!(log_out)).routes(routes!(prove))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The authenticator's code, where the account has a second factor.
    code: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LoggedIn {
    /// The session's secret; send it as `Authorization: Bearer …`.
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// Log in as an administrator.
#[utoipa::path(
    post,
    path = "/sessions",
    tag = "access",
    security(()),
    request_body = Login,
    responses((status = 201, body = LoggedIn), Refused)
)]
async fn log_in(
    State(people): State<Arc<People>>,
    Extension(Caller(address)): Extension<Caller>,
    Json(login): Json<Login>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    let email = login.email.trim().to_lowercase();
    let person = Person { address, email: &email, password: &login.password, code: login.code.as_deref() };
    let (token, expires_at) = acts::log_in(&people, &person).await?;
    Ok((StatusCode::CREATED, Json(LoggedIn { token, expires_at })))
}

/// Log out: forget the session this request was made with.
#[utoipa::path(delete, path = "/sessions/current", tag = "access", responses((status = 204), Refused))]
async fn log_out(State(people): State<Arc<People>>, who: Principal) -> Result<StatusCode, Problem> {
    acts::log_out(&people, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Proof {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The authenticator's code, where the account has a second factor.
    code: Option<String>,
}

/// Prove again who you are: for some minutes this session may do acts that last, such as issuing a token.
#[utoipa::path(
    post,
    path = "/sessions/current/proof",
    tag = "access",
    request_body = Proof,
    responses((status = 204), Refused)
)]
async fn prove(
    State(people): State<Arc<People>>,
    Extension(Caller(address)): Extension<Caller>,
    who: Principal,
    Json(proof): Json<Proof>,
) -> Result<StatusCode, Problem> {
    let (_, email, session) = who.admin()?;
    let person = Person { address, email, password: &proof.password, code: proof.code.as_deref() };
    acts::prove(&people, session, &person).await?;
    Ok(StatusCode::NO_CONTENT)
}
