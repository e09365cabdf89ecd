//! The API of second factors.

use super::{acts, db};
use crate::People;
use crate::admins::{check_password, forgive};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{Caller, Json, Principal, Problem, Refused};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<People>> {
    OpenApiRouter::new().routes(routes!(show, begin)).routes(routes!(confirm)).routes(routes!(remove))
}

#[derive(Debug, Serialize, ToSchema)]
struct SecondFactor {
    /// Whether a login needs a code.
    on: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct NewFactor {
    /// The secret for an authenticator app, in Base32.
    secret: String,
    /// The secret as an `otpauth:` URI, the content of a QR code.
    uri: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Beginning {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// The authenticator's current code.
    code: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Removal {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The authenticator's current code.
    code: String,
}

/// Whether your account has a second factor.
#[utoipa::path(get, path = "/second-factor", tag = "access", responses((status = 200, body = SecondFactor), Refused))]
async fn show(State(people): State<Arc<People>>, who: Principal) -> Result<Json<SecondFactor>, Problem> {
    let (admin, ..) = who.admin()?;
    Ok(Json(SecondFactor { on: db::counts(people.kernel.database.system(), admin).await? }))
}

/// Make a secret for your authenticator; it counts once a code has confirmed it.
#[utoipa::path(
    post,
    path = "/second-factor",
    tag = "access",
    request_body = Beginning,
    responses((status = 201, body = NewFactor), Refused)
)]
async fn begin(
    State(people): State<Arc<People>>,
    Extension(Caller(address)): Extension<Caller>,
    who: Principal,
    Json(beginning): Json<Beginning>,
) -> Result<(StatusCode, Json<NewFactor>), Problem> {
    let (_, email, _) = who.admin()?;
    let admin = check_password(&people, address, email, &beginning.password).await?.id;
    let totp = acts::begin(&people.kernel.database, admin, email).await?;
    forgive(&people, address, email);
    Ok((StatusCode::CREATED, Json(NewFactor { secret: totp.get_secret_base32(), uri: totp.get_url() })))
}

/// Confirm the secret with a first code: from now on a login needs a code. Your other sessions end.
#[utoipa::path(
    post,
    path = "/second-factor/confirm",
    tag = "access",
    request_body = Confirmation,
    responses((status = 204), Refused)
)]
async fn confirm(
    State(people): State<Arc<People>>,
    who: Principal,
    Json(confirmation): Json<Confirmation>,
) -> Result<StatusCode, Problem> {
    let (admin, _, session) = who.admin()?;
    acts::confirm(&people.kernel.database, admin, session, &confirmation.code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove your second factor, with the password and a code.
#[utoipa::path(
    post,
    path = "/second-factor/remove",
    tag = "access",
    request_body = Removal,
    responses((status = 204), Refused)
)]
async fn remove(
    State(people): State<Arc<People>>,
    Extension(Caller(address)): Extension<Caller>,
    who: Principal,
    Json(removal): Json<Removal>,
) -> Result<StatusCode, Problem> {
    let (_, email, _) = who.admin()?;
    let admin = check_password(&people, address, email, &removal.password).await?.id;
    acts::remove(&people.kernel.database, admin, &removal.code).await?;
    forgive(&people, address, email);
    Ok(StatusCode::NO_CONTENT)
}
