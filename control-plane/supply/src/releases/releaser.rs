//! Who releases, and what they send: large bodies are read for nobody else, and of each person or token a few at a time.

use super::terms::WRITE_RELEASES;
use crate::state::Supply;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use noderr_kernel::Principal;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

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
        let turn = supply.turns.take(who.id()).await.map_err(|why| why.into_response())?;
        let body = T::from_request(Request::from_parts(parts, body), supply).await;
        Ok(Self { who, body: body.map_err(|why| why.into_response())?, turn })
    }
}
