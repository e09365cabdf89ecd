//! Serves the router over the gate's finished TLS connections; slow senders are cut off, a stop lets requests finish.

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use noderr_broker::Gate;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A request's head must be here by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Requests under way at a stop get so long.
const FAREWELL: Duration = Duration::from_secs(10);

/// Serves until `stop`, then until the requests under way are answered.
pub(crate) async fn serve(mut gate: Gate, router: Router, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            connection = gate.next() => connection,
            () = stop.cancelled() => break,
        };
        let service = router.clone().map_request(|request: Request<Incoming>| request.map(Body::new));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(64 * 1024);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "an HTTP connection ended early");
            }
        });
    }
    drop(gate);
    if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still under way after {FAREWELL:?} are cut off");
    }
}
