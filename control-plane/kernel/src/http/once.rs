//! Requests that make something, once: a client that sends a request again with the same `Idempotency-Key`,
//! because the answer was lost, gets the answer again.
//!
//! The key is claimed in the transaction of the act itself: the act and its answer are committed together or
//! not at all, and of two requests with one key the second waits for the first.

use super::Problem;
use super::extract::{Empty, read_json};
use crate::act::Act;
use crate::kernel::{HasKernel, Kernel};
use crate::principal::Principal;
use crate::problems::{ALREADY_MADE, IDEMPOTENCY_KEY, KEY_REUSED};
use axum::extract::{FromRequest, FromRequestParts as _};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::pin::Pin;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 200;

/// A request to make something: the principal and the body. An empty body is an empty object.
pub struct Request<T> {
    /// The principal that asks.
    pub who: Principal,
    /// The body.
    pub body: T,
    once: Option<Once>,
}

struct Once {
    key: String,
    /// The digest of method, path and body for which the key stands.
    request: [u8; 32],
}

impl<S: HasKernel, T: DeserializeOwned + Send + 'static> FromRequest<S> for Request<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let who = Principal::from_request_parts(&mut parts, state).await?;
        let target = format!("{} {}", parts.method, parts.uri.path());
        let key = key(&parts.headers)?;
        let request = axum::extract::Request::from_parts(parts, body);
        let (body, bytes) = read_json(request, state, Empty::IsAnObject).await?;
        let once = key.map(|key| {
            let request = Sha256::new_with_prefix(&target).chain_update([0]).chain_update(&bytes);
            Once { key, request: request.finalize().into() }
        });
        Ok(Self { who, body, once })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=LONGEST).contains(&text.len()));
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| IDEMPOTENCY_KEY.into())
}

/// The answer to a request that makes something.
pub struct Made {
    status: StatusCode,
    body: Value,
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}

type Doing<'a, R> = Pin<Box<dyn Future<Output = Result<R, Problem>> + Send + 'a>>;

impl Kernel {
    /// Makes something: begins an act, runs `act` in it, commits, and answers with 201. A repeated request
    /// gets the answer of the first.
    pub async fn make<T, R: Serialize>(
        &self,
        request: Request<T>,
        act: impl for<'a> FnOnce(&'a mut Act, T) -> Doing<'a, R>,
    ) -> Result<Made, Problem> {
        self.make_with(request, Keeps::Answer, act).await
    }

    /// Makes something like [`make`](Self::make), but does not keep the answer, which holds a secret: a
    /// repeated request is refused.
    pub async fn make_secret<T, R: Serialize>(
        &self,
        request: Request<T>,
        act: impl for<'a> FnOnce(&'a mut Act, T) -> Doing<'a, R>,
    ) -> Result<Made, Problem> {
        self.make_with(request, Keeps::Nothing, act).await
    }

    async fn make_with<T, R: Serialize>(
        &self,
        request: Request<T>,
        keeps: Keeps,
        act: impl for<'a> FnOnce(&'a mut Act, T) -> Doing<'a, R>,
    ) -> Result<Made, Problem> {
        let Request { who, body, once } = request;
        let mut open = self.begin(who).await?;
        if let Some(once) = &once
            && let Some(made) = claim(&mut open, once).await?
        {
            return Ok(made);
        }
        let made = act(&mut open, body).await?;
        let body = serde_json::to_value(made).map_err(anyhow::Error::from)?;
        let made = Made { status: StatusCode::CREATED, body };
        if let Some(once) = &once {
            answer(&mut open, once, keeps, &made).await?;
        }
        open.commit().await?;
        Ok(made)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Answer,
    Nothing,
}

/// Claims the key for this transaction (`None`), or returns the answer to the first request with the key.
async fn claim(act: &mut Act, once: &Once) -> Result<Option<Made>, Problem> {
    let principal = act.who().actor();
    // The statement waits for a transaction that has claimed the key and is not over.
    let claimed = sqlx::query!(
        "INSERT INTO idempotency (principal, key, request) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        principal,
        once.key,
        once.request.as_slice()
    )
    .execute(&mut **act)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(None);
    }
    let first = sqlx::query!(
        "SELECT request, status, body FROM idempotency WHERE principal = $1 AND key = $2",
        principal,
        once.key
    )
    .fetch_one(&mut **act)
    .await?;
    if first.request != once.request {
        return Err(KEY_REUSED.into());
    }
    let status = first.status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    match (status, first.body) {
        (Some(status), Some(body)) => Ok(Some(Made { status, body })),
        _ => Err(ALREADY_MADE.into()),
    }
}

async fn answer(act: &mut Act, once: &Once, keeps: Keeps, made: &Made) -> sqlx::Result<()> {
    let principal = act.who().actor();
    let kept = (keeps == Keeps::Answer).then_some(&made.body);
    sqlx::query!(
        "UPDATE idempotency SET status = $3, body = $4 WHERE principal = $1 AND key = $2",
        principal,
        once.key,
        i16::try_from(made.status.as_u16()).unwrap_or_default(),
        kept
    )
    .execute(&mut **act)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )])
    }

    #[test]
    fn a_key_is_visible_and_of_bounded_length() {
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(key(&headers(HEADER, "a-1")).unwrap().as_deref(), Some("a-1"));
        for wrong in ["", "a b", &"x".repeat(LONGEST + 1), "ü"] {
            assert_eq!(key(&headers(HEADER, wrong)).unwrap_err().kind().name, "idempotency-key", "{wrong}");
        }
    }
}
