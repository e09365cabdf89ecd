//! The board: what the node knows of itself; and the local socket that shows the board: `GET /status` (JSON)
//! and `GET /status.txt`.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use noderr_protocol::{IdentityKind, NodeId};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

/// Connections at a time.
const PLACES: usize = 8;
/// The rest after a connection that could not be taken.
const REST: Duration = Duration::from_secs(1);
/// How long a connection may take.
const LONGEST: Duration = Duration::from_secs(10);

/// Everything a person or a script on the box may want to know.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) software: String,
    pub(crate) node: Option<NodeId>,
    pub(crate) identity: Option<IdentityKind>,
    /// One sentence: what the node is doing now.
    pub(crate) doing: String,
    pub(crate) online: bool,
    pub(crate) uptime_s: u64,
    pub(crate) connects: u32,
    pub(crate) round_trip_ms: Option<u64>,
    pub(crate) certificate_ends_s: Option<i64>,
    pub(crate) clock_vouched: bool,
    pub(crate) clock_offset_ms: i64,
    pub(crate) spool_records: u64,
    pub(crate) spool_bytes: u64,
    pub(crate) spool_disk_bytes: u64,
    pub(crate) spool_lost: u64,
    pub(crate) tpm_answered: u64,
    pub(crate) tpm_failed: u64,
    pub(crate) disk_free_kib: u64,
    /// What the parts of the node may take of the disk at most.
    pub(crate) disk_claims_kib: u64,
    pub(crate) desired_version: u64,
    pub(crate) paused: bool,
    /// Why the node is kept out of work, if it is.
    pub(crate) quarantine: Option<String>,
    pub(crate) sample_every_s: u16,
    /// What has become of the releases that the node should hold.
    #[serde(default)]
    pub(crate) releases: Vec<ReleaseShown>,
    /// Bytes of releases that have come in this month.
    #[serde(default)]
    pub(crate) releases_month_bytes: u64,
    /// What was found last where sticks are put in, if there is such a place.
    #[serde(default)]
    pub(crate) stick: Option<String>,
    /// Health checks that fail now, each with what to do.
    pub(crate) failing: Vec<String>,
}

/// How a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Looking,
    Fetching,
    Checking,
    Held,
    Waiting,
    Refused,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Fetching => "fetching",
            Self::Checking => "checking",
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        }
    }
}

/// What has become of one release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReleaseShown {
    pub(crate) release: String,
    pub(crate) state: Standing,
    /// In words.
    pub(crate) detail: String,
    /// Where its bytes lie.
    pub(crate) path: Option<PathBuf>,
}

/// The board, shared by all parts of the node; each part writes what it knows.
#[derive(Clone)]
pub(crate) struct Board(Arc<RwLock<Status>>, Instant);

impl Board {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn read(&self) -> Status {
        let status = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Status { uptime_s: self.1.elapsed().as_secs(), ..status }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self(Arc::default(), Instant::now())
    }
}

impl Status {
    /// Whether the node is online and no health check fails.
    pub(crate) const fn is_well(&self) -> bool {
        self.online && self.failing.is_empty()
    }

    /// The status as text for people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| out.push_str(&format!("{name:<12} {value}\n"));
        line("node", self.node.map_or_else(|| "not enrolled".to_owned(), |node| node.to_string()));
        line("identity", self.identity.map_or("-", IdentityKind::as_str).to_owned());
        line("state", format!("{}{}", if self.online { "online, " } else { "offline, " }, self.doing));
        if let Some(ms) = self.round_trip_ms {
            line("round trip", format!("{ms} ms"));
        }
        line("waiting", format!("{} records, {} KiB", self.spool_records, self.spool_bytes / 1024));
        line("lost", format!("{} records", self.spool_lost));
        let vouched =
            if self.clock_vouched { "vouched for by the control plane" } else { "not vouched for yet" };
        let (off, way) =
            (self.clock_offset_ms.abs(), if self.clock_offset_ms < 0 { "behind" } else { "ahead" });
        line("clock", format!("{vouched}, the box's own is {off} ms {way}"));
        line("tpm", format!("{} answered, {} failed", self.tpm_answered, self.tpm_failed));
        line(
            "disk free",
            format!(
                "{} MiB; the node may take {} MiB",
                self.disk_free_kib / 1024,
                self.disk_claims_kib / 1024
            ),
        );
        line(
            "desired",
            format!("version {}{}", self.desired_version, if self.paused { ", paused" } else { "" }),
        );
        for ReleaseShown { release, state, detail, .. } in &self.releases {
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            line("release", format!("{release} {}{detail}", state.as_str()));
        }
        if let Some(found) = &self.stick {
            line("stick", found.clone());
        }
        line("software", format!("{}, up {} s", self.software, self.uptime_s));
        if let Some(why) = &self.quarantine {
            line("quarantine", format!("no work for this node: {why}; ask the network"));
        }
        match &self.failing[..] {
            [] if self.online => line("health", "ok".to_owned()),
            [] => line("health", "not online, see above".to_owned()),
            failing => failing.iter().for_each(|check| line("health", check.clone())),
        }
        out
    }
}

/// Binds the socket and serves the board. A box whose socket cannot be bound does its work all the same.
pub(crate) async fn run(path: PathBuf, board: Board) {
    match StatusServer::bind(&path) {
        Ok(server) => server.run(board).await,
        Err(error) => tracing::error!(%error, path = %path.display(), "nobody can ask for the status"),
    }
}

/// Serves the board; the socket file is removed when the server is dropped.
struct StatusServer {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusServer {
    fn bind(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // Status holds no secret, but it is for those who run the box.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves for as long as it is polled; a few at a time, whoever else asks waits.
    async fn run(&self, board: Board) {
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of files, as a rule: the next attempt would fail as this one did.
                tokio::time::sleep(REST).await;
                continue;
            };
            let board = board.clone();
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request| {
                    let answer = answer(&request, &board);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let served = tokio::time::timeout(LONGEST, connection).await;
                if let Ok(Err(error)) = served {
                    tracing::debug!(%error, "a status connection ended early");
                }
            });
        }
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the status socket was gone already");
        }
    }
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => {
            let json = serde_json::to_vec_pretty(&board.read()).unwrap_or_default();
            (StatusCode::OK, "application/json", json)
        }
        (&Method::GET, "/status.txt") => {
            (StatusCode::OK, "text/plain; charset=utf-8", board.read().text().into())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", b"GET /status or /status.txt\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn those_who_hold_connections_take_no_more_than_the_places_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let server = StatusServer::bind(&path).unwrap();
        let serving = tokio::spawn(async move { server.run(Board::default()).await });
        let mut idle = Vec::new();
        for _ in 0..3 * PLACES {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        let mut asks = UnixStream::connect(&path).await.unwrap();
        asks.write_all(b"GET /status HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let early = tokio::time::timeout(Duration::from_millis(300), asks.read_to_string(&mut answer)).await;
        assert!(early.is_err(), "it was served although all places are taken");
        drop(idle);
        asks.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serving.abort();
    }
}
