//! The principal of a request, as an extractor: looks the credential up, and counts the request against the
//! principal's rate.

use super::{Caller, Problem};
use crate::kernel::HasKernel;
use crate::principal::{Credential, Principal};
use crate::problems::{THROTTLED, UNAUTHORISED};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use std::time::Instant;

impl<S: HasKernel> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let kernel = state.kernel();
        let credential = bearer(parts).ok_or_else(|| {
            UNAUTHORISED.because("send `Authorization: Bearer <token>`; log in at /api/v1/sessions")
        })?;
        let caller = parts.extensions.get::<Caller>().map(|caller| caller.0);
        let Credential::Bearer(secret) = &credential;
        // Before the database is asked: whoever sends what nobody knows must not keep it busy.
        if let Some(wait) = caller.and_then(|address| kernel.strangers.wait(&address, Instant::now()))
            && !kernel.recognised.knows(secret, Instant::now())
        {
            metrics::counter!("noderr_http_throttled_total").increment(1);
            return Err(THROTTLED.after(wait, "too many requests without a credential from this address"));
        }
        let found = kernel.authenticate.identify(&credential).await?;
        kernel.recognised.note(secret, found.is_some(), Instant::now());
        let Some(found) = found else {
            _ = caller.map(|address| kernel.strangers.spend(address, Instant::now()));
            return Err(UNAUTHORISED.because("the token is unknown, expired or revoked; log in again"));
        };
        let permissions = kernel.permissions.granted(&found.granted);
        let who = Self { subject: found.subject, scope: found.scope, permissions };
        if let Err(wait) = kernel.asking.spend(who.id(), Instant::now()) {
            metrics::counter!("noderr_http_throttled_total").increment(1);
            return Err(THROTTLED.after(wait, "you ask too often"));
        }
        Ok(who)
    }
}

fn bearer(parts: &Parts) -> Option<Credential> {
    let (scheme, secret) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Bearer(secret.trim().to_owned()))
}
