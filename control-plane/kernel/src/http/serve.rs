//! Serves the router over the gate's finished TLS connections. Slow peers are cut off, connections beyond the
//! bounds are turned away, a stop lets requests finish.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use noderr_front::{Busy, Crowd, Gate, Place, TlsConnection, subnet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a reader may take nothing of an answer before the reader counts as idle.
const ANSWERING: Duration = Duration::from_secs(10);
/// How old a connection may be and still take a further request.
const LIFE: Duration = Duration::from_secs(60);
/// How long the request under way may take after a stop.
const FAREWELL: Duration = Duration::from_secs(30);
/// How long the request under way may take on a connection that is too old while its reader takes nothing: the slowest line that a
/// node may have takes a piece of an archive in this time.
const STALLED: Duration = Duration::from_secs(90);

/// The address that a request counts for, as an extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub IpAddr);

/// What makes a guest busy, when the time has come: a guest whose request is still on its way is put out before anybody
/// whose request is being answered.
#[derive(Clone)]
struct Once {
    make: Arc<dyn Fn() -> Busy + Send + Sync>,
    made: Arc<Mutex<Option<Busy>>>,
}

impl Once {
    fn new(make: Arc<dyn Fn() -> Busy + Send + Sync>) -> Self {
        Self { make, made: Arc::default() }
    }

    fn begin(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| (self.make)());
    }

    fn end(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The answer that a connection is being written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Answer>>);

#[derive(Default)]
struct Answer {
    /// When its reader took something of it last.
    last: Option<(Instant, Once)>,
    /// Whether the connection has had its time: who reads slowly is put out where others have no place.
    is_late: bool,
}

impl Written {
    /// The reader has taken something: the guest is busy.
    fn goes_on(&self, busy: &Once) {
        let mut answer = self.lock();
        if answer.is_late {
            busy.end();
        } else {
            busy.begin();
        }
        answer.last = Some((Instant::now(), busy.clone()));
    }

    /// From now on an answer keeps nobody else out.
    fn is_late(&self) {
        let mut answer = self.lock();
        answer.is_late = true;
        if let Some((_, busy)) = &answer.last {
            busy.end();
        }
    }

    /// Whoever reads nothing keeps nobody else out: after a while the guest counts as idle.
    fn grow_old(&self) {
        if let Some((last, busy)) = &self.lock().last
            && last.elapsed() > ANSWERING
        {
            busy.end();
        }
    }

    /// Since when the reader has taken nothing.
    fn rests_since(&self) -> Option<Instant> {
        self.lock().last.as_ref().map(|(last, _)| *last)
    }

    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request body that makes its guest busy once all of it has arrived.
struct Arriving {
    body: Incoming,
    busy: Once,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.busy.begin();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that keeps its guest busy until the body is written.
struct Answering {
    body: Body,
    busy: Once,
    written: Written,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            // The next piece is asked for when there is room for it: the ones before are on their way.
            self.written.goes_on(&self.busy);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    /// The answer is written, or nobody waits for it.
    fn drop(&mut self) {
        self.busy.end();
    }
}

/// Serves until `stop`, then until the requests under way are answered.
pub async fn serve(mut gate: Gate, crowd: Crowd, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            connection = gate.next() => connection,
            () = stop.cancelled() => break,
        };
        match crowd.enter(subnet(connection.1.ip())) {
            Some(place) => {
                connections.spawn(converse(connection, place, router.clone(), stop.clone()));
            }
            None => metrics::counter!("noderr_http_turned_away_total").increment(1),
        }
    }
    drop(gate);
    connections.close();
    connections.wait().await;
}

/// Looks now and then whether an answer is old; never ends.
async fn grows_old(written: &Written) {
    loop {
        tokio::time::sleep(ANSWERING / 2).await;
        written.grow_old();
    }
}

async fn converse((stream, peer): TlsConnection, place: Place, router: Router, stop: CancellationToken) {
    let caller = Caller(place.address());
    let busy: Arc<dyn Fn() -> Busy + Send + Sync> = Arc::new(place.busy());
    let written = Written::default();
    let writes = written.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (router, busy, written) = (router.clone(), Once::new(busy.clone()), writes.clone());
        let mut request = request.map(|body| Body::new(Arriving { body, busy: busy.clone() }));
        request.extensions_mut().insert(caller);
        if request.body().is_end_stream() {
            busy.begin();
        }
        async move {
            let answer = router.oneshot(request).await?;
            // Answered without a look at the body.
            written.goes_on(&busy);
            Ok::<_, Infallible>(answer.map(|body| Answering { body, busy, written }))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(64 * 1024);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(LIFE) => None,
        () = grows_old(&written) => None,
        () = stop.cancelled() => None,
        () = place.out().cancelled() => return turned_away(),
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        None => {
            written.is_late();
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => Some(ended),
                () = stalls(&written, &stop) => None,
                () = place.out().cancelled() => return turned_away(),
            }
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%peer, %error, "an HTTP connection ended early"),
        None => tracing::debug!(%peer, "a request that took too long was cut off"),
    }
}

fn turned_away() {
    metrics::counter!("noderr_http_turned_away_total").increment(1);
}

/// Ends when the request under way is to be cut off: its reader takes nothing any more, or there was a stop.
async fn stalls(written: &Written, stop: &CancellationToken) {
    let begun = Instant::now();
    let stalled = async {
        while written.rests_since().unwrap_or(begun).max(begun).elapsed() < STALLED {
            written.grow_old();
            tokio::time::sleep(ANSWERING / 2).await;
        }
    };
    tokio::select! {
        () = stalled => {}
        () = async { stop.cancelled().await; tokio::time::sleep(FAREWELL).await } => {}
    }
}
