//! What boxes call. No bearer token: each call carries its own proof.

use super::{begin, finish, renew};
use crate::app::App;
use crate::http::{Json, Problem, ProblemBody};
use axum::extract::State;
use noderr_protocol::enrol::{
    BeginRequest, BeginResponse, Enrolled, FinishRequest, RenewChallenge, RenewChallengeRequest, RenewRequest,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(begin_enrolment))
        .routes(routes!(finish_enrolment))
        .routes(routes!(challenge_renewal))
        .routes(routes!(renew_certificate))
}

/// Begin an enrolment: an install token and the TPM's public keys, for a question only that TPM can answer.
#[utoipa::path(post, path = "/enrol/begin", tag = "boxes", request_body = Object,
    responses((status = 200, body = Object), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn begin_enrolment(
    State(app): State<App>,
    Json(request): Json<BeginRequest>,
) -> Result<Json<BeginResponse>, Problem> {
    let result = begin::begin(&app, request).await;
    if let Err(problem) = &result {
        metrics::counter!("noderr_enrolments_total", "outcome" => problem.kind()).increment(1);
    }
    Ok(Json(result?))
}

/// Finish an enrolment: the answer, for a certificate.
#[utoipa::path(post, path = "/enrol/finish", tag = "boxes", request_body = Object,
    responses((status = 200, body = Object), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn finish_enrolment(
    State(app): State<App>,
    Json(request): Json<FinishRequest>,
) -> Result<Json<Enrolled>, Problem> {
    Ok(Json(finish::finish(&app, request).await?))
}

/// Begin a renewal.
#[utoipa::path(post, path = "/enrol/renew/challenge", tag = "boxes", request_body = Object,
    responses((status = 200, body = Object), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn challenge_renewal(
    State(app): State<App>,
    Json(request): Json<RenewChallengeRequest>,
) -> Result<Json<RenewChallenge>, Problem> {
    Ok(Json(renew::challenge(&app, request).await?))
}

/// Renew a certificate with the keys of the enrolment.
#[utoipa::path(post, path = "/enrol/renew", tag = "boxes", request_body = Object,
    responses((status = 200, body = Object), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn renew_certificate(
    State(app): State<App>,
    Json(request): Json<RenewRequest>,
) -> Result<Json<Enrolled>, Problem> {
    Ok(Json(renew::renew(&app, request).await?))
}
