//! Who releases, and what they send: large bodies are read for nobody else.

use super::terms::WRITE_RELEASES;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use noderr_kernel::{HasKernel, Principal};

/// A principal who may release, and the body of the request.
pub(super) struct Releaser<T>(pub(super) Principal, pub(super) T);

impl<S, T> FromRequest<S> for Releaser<T>
where
    S: HasKernel + Send + Sync,
    T: FromRequest<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let who =
            Principal::from_request_parts(&mut parts, state).await.map_err(|why| why.into_response())?;
        who.require(&WRITE_RELEASES).map_err(|why| why.into_response())?;
        let body = T::from_request(Request::from_parts(parts, body), state).await;
        Ok(Self(who, body.map_err(|why| why.into_response())?))
    }
}
