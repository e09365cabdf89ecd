//! Who releases, and what they send: large bodies are read for nobody else, and of each person a few at a time.

use super::terms::WRITE_RELEASES;
use crate::state::Supply;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use noderr_kernel::{Principal, Problem};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Large bodies of one person that are in memory at a time; the next one waits.
const AT_ONCE: usize = 4;

/// A principal who may release, and the body of the request.
pub(super) struct Releaser<T> {
    pub(super) who: Principal,
    pub(super) body: T,
    /// Kept for as long as the body is.
    pub(super) turn: OwnedSemaphorePermit,
}

impl<T> FromRequest<Arc<Supply>> for Releaser<T>
where
    T: FromRequest<Arc<Supply>>,
{
    type Rejection = Response;

    async fn from_request(request: Request, supply: &Arc<Supply>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let who =
            Principal::from_request_parts(&mut parts, supply).await.map_err(|why| why.into_response())?;
        who.require(&WRITE_RELEASES).map_err(|why| why.into_response())?;
        let turn = supply.turns.take(who.person()).await.map_err(|why| why.into_response())?;
        let body = T::from_request(Request::from_parts(parts, body), supply).await;
        Ok(Self { who, body: body.map_err(|why| why.into_response())?, turn })
    }
}

/// The turns of the people who release.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Arc<Semaphore>>>);

impl Turns {
    async fn take(&self, person: Uuid) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits for nothing is forgotten.
            all.retain(|known, turns| *known == person || turns.available_permits() < AT_ONCE);
            all.entry(person).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
        };
        turns.acquire_owned().await.map_err(|error| Problem::from(anyhow::Error::from(error)))
    }
}
