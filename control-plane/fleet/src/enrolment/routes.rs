//! The API that boxes call. The calls need no bearer token: each call carries its own proof.

use super::{begin, finish, renew};
use crate::state::Fleet;
use axum::extract::{DefaultBodyLimit, State};
use noderr_kernel::{Json, Problem, Refused};
use noderr_protocol::enrol::{
    BeginRequest, BeginResponse, Enrolled, FinishRequest, RenewChallenge, RenewChallengeRequest, RenewRequest,
};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The body of an enrolment's end may hold the firmware's event log.
const MAX_FINISH: usize = 512 * 1024;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new()
        .routes(routes!(begin_enrolment))
        .merge(
            OpenApiRouter::new().routes(routes!(finish_enrolment)).layer(DefaultBodyLimit::max(MAX_FINISH)),
        )
        .routes(routes!(challenge_renewal))
        .routes(routes!(renew_certificate))
}

/// Begin an enrolment: send an install token and the TPM's public keys, get a challenge that only this TPM
/// can answer.
#[utoipa::path(
    post,
    path = "/enrol/begin",
    tag = "boxes",
    security(()),
    request_body = BeginRequest,
    responses((status = 200, body = BeginResponse), Refused)
)]
async fn begin_enrolment(
    State(fleet): State<Arc<Fleet>>,
    Json(request): Json<BeginRequest>,
) -> Result<Json<BeginResponse>, Problem> {
    let begun = begin::begin(&fleet, request).await;
    if let Err(problem) = &begun {
        metrics::counter!("noderr_enrolments_total", "outcome" => problem.kind().name).increment(1);
    }
    Ok(Json(begun?))
}

/// Finish an enrolment: send the answer, get a certificate.
#[utoipa::path(
    post,
    path = "/enrol/finish",
    tag = "boxes",
    security(()),
    request_body = FinishRequest,
    responses((status = 200, body = Enrolled), Refused)
)]
async fn finish_enrolment(
    State(fleet): State<Arc<Fleet>>,
    Json(request): Json<FinishRequest>,
) -> Result<Json<Enrolled>, Problem> {
    Ok(Json(finish::finish(&fleet, request).await?))
}

/// Begin a renewal.
#[utoipa::path(
    post,
    path = "/enrol/renew/challenge",
    tag = "boxes",
    security(()),
    request_body = RenewChallengeRequest,
    responses((status = 200, body = RenewChallenge), Refused)
)]
async fn challenge_renewal(
    State(fleet): State<Arc<Fleet>>,
    Json(request): Json<RenewChallengeRequest>,
) -> Result<Json<RenewChallenge>, Problem> {
    Ok(Json(renew::challenge(&fleet, request).await?))
}

/// Renew a certificate with the keys of the enrolment.
#[utoipa::path(
    post,
    path = "/enrol/renew",
    tag = "boxes",
    security(()),
    request_body = RenewRequest,
    responses((status = 200, body = Enrolled), Refused)
)]
async fn renew_certificate(
    State(fleet): State<Arc<Fleet>>,
    Json(request): Json<RenewRequest>,
) -> Result<Json<Enrolled>, Problem> {
    Ok(Json(renew::renew(&fleet, request).await?))
}
