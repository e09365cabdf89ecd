//! A second factor of administrators: time-based one-time passwords (RFC 6238), as authenticator apps make them. A code is
//! taken once, and whoever guesses codes of an account waits longer each time, wherever they ask from. Nobody sets one up
//! or removes it without the password: a session that was left open, or stolen, is not enough.

use super::db::{self, Factor};
use super::password;
use crate::app::App;
use crate::database::Tx;
use crate::features::audit;
use crate::http::{Caller, Json, Principal, Problem, ProblemBody};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use rand::RngCore as _;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use totp_rs::{Algorithm, TOTP};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

const ISSUER: &str = "Noderr";
const DIGITS: usize = 6;
/// Seconds for which a code stands.
const STEP: i64 = 30;
/// RFC 4226 recommends 160 bits.
const SECRET: usize = 20;
/// Wrong codes in a row of an account before it waits; they take the password, and addresses wait sooner.
const FREE: i32 = 20;
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show, begin)).routes(routes!(confirm)).routes(routes!(remove))
}

/// What a code, or the lack of one, is worth.
pub(super) enum Verdict {
    /// Right, or none is needed.
    Good,
    /// One is needed.
    Missing,
    Wrong,
    /// Too many were wrong.
    Wait(Duration),
}

impl Verdict {
    /// The refusal for anything but a good one.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let refused = |kind, detail: &str| Some(Problem::new(StatusCode::UNAUTHORIZED, kind, detail));
        match self {
            Self::Good => None,
            Self::Missing => refused(
                "code-required",
                "this account has a second factor: send its code of the moment as `code`",
            ),
            Self::Wrong => refused(
                "code-wrong",
                "the code is wrong, or was used already: wait for the next one; are the clocks of both sides right?",
            ),
            Self::Wait(wait) => {
                let detail = format!("too many wrong codes for this account; wait {} s", wait.as_secs() + 1);
                Some(Problem::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail))
            }
        }
    }
}

/// Weighs the code of an administrator and notes the outcome: commit `tx` whatever it is.
pub(super) async fn weigh(
    tx: &mut Tx,
    admin: Uuid,
    email: &str,
    code: Option<&str>,
) -> sqlx::Result<Verdict> {
    let Some(factor) = db::factor(tx, admin).await?.filter(|factor| factor.confirmed) else {
        return Ok(Verdict::Good);
    };
    let Some(code) = code else { return Ok(Verdict::Missing) };
    judge(tx, admin, email, &factor, code).await
}

async fn judge(tx: &mut Tx, admin: Uuid, email: &str, factor: &Factor, code: &str) -> sqlx::Result<Verdict> {
    let now = OffsetDateTime::now_utc();
    if let Some(wait) = pause(factor, now) {
        return Ok(Verdict::Wait(wait));
    }
    if let Some(step) = matching(factor, code, now)
        && db::factor_used(tx, admin, step).await?
    {
        return Ok(Verdict::Good);
    }
    db::factor_failed(tx, admin, now).await?;
    audit::record(tx, email, "second-factor.refused", email, &json!({})).await?;
    Ok(Verdict::Wrong)
}

fn pause(factor: &Factor, now: OffsetDateTime) -> Option<Duration> {
    let beyond = u32::try_from(factor.failures.checked_sub(FREE)?).ok()?;
    let pause = Duration::from_secs(1 << beyond.min(9)).min(LONGEST);
    // At most the pause, should the clocks of two instances differ.
    let left = (factor.failed_at + pause - now).min(time::Duration::try_from(pause).ok()?);
    left.is_positive().then(|| left.unsigned_abs())
}

/// The step whose code this is: the present one or a neighbour, as clocks differ, and none that was used or passed over.
fn matching(factor: &Factor, code: &str, now: OffsetDateTime) -> Option<i64> {
    let totp = totp(&factor.secret, String::new())?;
    let present = now.unix_timestamp() / STEP;
    (present - 1..=present + 1).filter(|step| *step > factor.step).find(|step| {
        let right = totp.generate((step * STEP).unsigned_abs());
        right.as_bytes().ct_eq(code.trim().as_bytes()).into()
    })
}

fn totp(secret: &[u8], account: String) -> Option<TOTP> {
    // A colon would end the account's name in the URI.
    let (issuer, account) = (Some(ISSUER.to_owned()), account.replace(':', ""));
    TOTP::new(Algorithm::SHA1, DIGITS, 1, STEP.unsigned_abs(), secret.to_vec(), issuer, account).ok()
}

#[derive(Debug, Serialize, ToSchema)]
struct SecondFactor {
    /// Whether a login needs a code.
    on: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct NewFactor {
    /// For an authenticator app, in Base32.
    secret: String,
    /// The same as an `otpauth:` URI, the content of a QR code.
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
    /// The authenticator's code of the moment.
    code: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Removal {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The authenticator's code of the moment.
    code: String,
}

/// Whether your account has a second factor.
#[utoipa::path(get, path = "/second-factor", tag = "access", security(("bearer" = [])),
    responses((status = 200, body = SecondFactor), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, who: Principal) -> Result<Json<SecondFactor>, Problem> {
    Ok(Json(SecondFactor { on: db::has_factor(&app, who.session()?.admin).await? }))
}

/// Make a secret for your authenticator; it counts once a code has confirmed it.
#[utoipa::path(post, path = "/second-factor", tag = "access", request_body = Beginning, security(("bearer" = [])),
    responses((status = 201, body = NewFactor), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn begin(
    State(app): State<App>,
    Extension(Caller(address)): Extension<Caller>,
    who: Principal,
    Json(beginning): Json<Beginning>,
) -> Result<(StatusCode, Json<NewFactor>), Problem> {
    who.session()?;
    let admin = password::check(&app, address, &who.actor, &beginning.password).await?.id;
    let mut secret = [0; SECRET];
    rand::rng().fill_bytes(&mut secret);
    let totp = totp(&secret, who.actor.clone())
        .ok_or_else(|| anyhow::anyhow!("no authenticator takes this account"))?;
    let mut tx = app.database.begin().await?;
    if !db::begin_factor(&mut tx, admin, &secret).await? {
        return Err(Problem::conflict("second-factor", "this account has a second factor; remove it first"));
    }
    audit::record(&mut tx, &who.actor, "second-factor.begin", &who.actor, &json!({})).await?;
    tx.commit().await?;
    app.logins.succeeded(address, &who.actor);
    Ok((StatusCode::CREATED, Json(NewFactor { secret: totp.get_secret_base32(), uri: totp.get_url() })))
}

/// Confirm the secret with a first code: from now on a login needs one. Your other sessions end.
#[utoipa::path(post, path = "/second-factor/confirm", tag = "access", request_body = Confirmation, security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn confirm(
    State(app): State<App>,
    who: Principal,
    Json(confirmation): Json<Confirmation>,
) -> Result<StatusCode, Problem> {
    let session = who.session()?;
    let mut tx = app.database.begin().await?;
    let factor = db::factor(&mut tx, session.admin).await?.filter(|factor| !factor.confirmed);
    let factor = factor.ok_or_else(|| {
        let detail = "no second factor of this account waits for its first code; begin again";
        Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
    })?;
    let verdict = judge(&mut tx, session.admin, &who.actor, &factor, &confirmation.code).await?;
    if let Some(refusal) = verdict.refusal() {
        tx.commit().await?;
        return Err(refusal);
    }
    db::end_other_sessions(&mut tx, session.admin, &session.hash).await?;
    audit::record(&mut tx, &who.actor, "second-factor.on", &who.actor, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove your second factor; that takes the password and a code.
#[utoipa::path(post, path = "/second-factor/remove", tag = "access", request_body = Removal, security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<App>,
    Extension(Caller(address)): Extension<Caller>,
    who: Principal,
    Json(removal): Json<Removal>,
) -> Result<StatusCode, Problem> {
    who.session()?;
    let admin = password::check(&app, address, &who.actor, &removal.password).await?.id;
    let mut tx = app.database.begin().await?;
    if let Some(refusal) = weigh(&mut tx, admin, &who.actor, Some(&removal.code)).await?.refusal() {
        tx.commit().await?;
        return Err(refusal);
    }
    app.logins.succeeded(address, &who.actor);
    if !db::remove_factor(&mut tx, admin).await? {
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "this account has no second factor"));
    }
    audit::record(&mut tx, &who.actor, "second-factor.off", &who.actor, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(step: i64, failures: i32) -> Factor {
        let failed_at = OffsetDateTime::from_unix_timestamp(1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        // The secret of the examples in RFC 6238.
        Factor { secret: b"12345678901234567890".to_vec(), confirmed: true, step, failures, failed_at }
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Its appendix B shows eight digits; six are their end.
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(matching(&factor(0, 0), code, at(time)), Some(time / STEP));
        }
    }

    #[test]
    fn a_neighbouring_step_will_do_and_no_step_twice() {
        let code = "287082"; // of step 1
        assert_eq!(matching(&factor(0, 0), code, at(0)), Some(1));
        assert_eq!(matching(&factor(0, 0), code, at(89)), Some(1));
        assert_eq!(matching(&factor(0, 0), code, at(90)), None);
        assert_eq!(matching(&factor(1, 0), code, at(59)), None);
        assert_eq!(matching(&factor(0, 0), "28708", at(59)), None);
    }

    #[test]
    fn guessing_takes_longer_and_longer() {
        assert_eq!(pause(&factor(0, FREE - 1), at(1_000)), None);
        assert_eq!(pause(&factor(0, FREE), at(1_000)), Some(Duration::from_secs(1)));
        assert_eq!(pause(&factor(0, FREE + 3), at(1_002)), Some(Duration::from_secs(6)));
        assert_eq!(pause(&factor(0, i32::MAX), at(1_000)), Some(LONGEST));
        assert_eq!(pause(&factor(0, i32::MAX), at(1_300)), None);
        assert_eq!(pause(&factor(0, FREE), at(0)), Some(Duration::from_secs(1)), "a clock that is behind");
    }
}
