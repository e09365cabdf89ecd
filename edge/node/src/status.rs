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
use tokio::net::UnixListener;

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
    pub(crate) sample_every_s: u16,
    /// Health checks that fail now, each with what to do.
    pub(crate) failing: Vec<String>,
}

/// The board, shared by all parts of the node; each part writes what it knows.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<RwLock<Status>>);

impl Board {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn read(&self) -> Status {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Status {
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
        line("software", format!("{}, up {} s", self.software, self.uptime_s));
        match &self.failing[..] {
            [] if self.online => line("health", "ok".to_owned()),
            [] => line("health", "not online, see above".to_owned()),
            failing => failing.iter().for_each(|check| line("health", check.clone())),
        }
        out
    }
}

/// Serves the board; the socket file is removed when the server is dropped.
pub(crate) struct StatusServer {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusServer {
    pub(crate) fn bind(path: &Path) -> std::io::Result<Self> {
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

    pub(crate) async fn run(&self, board: Board) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let board = board.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(&request, &board);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let served = tokio::time::timeout(std::time::Duration::from_secs(10), connection).await;
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
