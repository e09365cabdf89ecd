//! A connection to a server, over which one request is made after another.

use super::error::FetchError;
use super::head::HeadBound;
use super::meter::{Meter, Metered};
use super::reach::{Reach, origin_of};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, RANGE};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use noderr_part::dial;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// How long a server may say nothing.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// Where a request goes.
pub(super) struct Address {
    /// As it was given.
    pub(super) text: String,
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Address {
    pub(super) fn of(text: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address(text.escape_debug().to_string());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        // Somebody's name and password in an address are not meant for a box.
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { text: text.to_owned(), uri, host, port, is_tls })
    }

    fn origin(&self) -> (bool, &str, u16) {
        (self.is_tls, &self.host, self.port)
    }

    fn request(&self, range: Option<&Range<u64>>) -> Result<Request<Empty<Bytes>>, FetchError> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder()
            .uri(self.uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority);
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        request.body(Empty::new()).map_err(|_| FetchError::Address(self.text.clone()))
    }
}

/// How lines are opened.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) reach: Reach,
    pub(super) meter: Meter,
}

pub(super) struct Line {
    origin: (bool, String, u16),
    sender: SendRequest<Empty<Bytes>>,
    head: HeadBound,
    _driver: AbortOnDropHandle<()>,
}

impl Line {
    /// Whether the line leads where this address is.
    pub(super) fn leads_to(&self, address: &Address) -> bool {
        let (is_tls, host, port) = &self.origin;
        (*is_tls, host.as_str(), *port) == address.origin() && !self.sender.is_closed()
    }

    /// Asks for what is at an address.
    pub(super) async fn ask(
        &mut self,
        address: &Address,
        range: Option<&Range<u64>>,
    ) -> Result<Response<Incoming>, FetchError> {
        let request = address.request(range)?;
        let asked = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        self.head.begin();
        let asked = timeout_at(Instant::now() + SILENCE, asked).await;
        self.head.end();
        match asked {
            Err(_) => Err(FetchError::TooSlow(address.text.clone())),
            Ok(answer) => answer.map_err(|error| lost(address, &error)),
        }
    }
}

fn lost(address: &Address, error: &dyn std::fmt::Display) -> FetchError {
    FetchError::Unreachable { address: address.text.clone(), why: error.to_string() }
}

impl Dialler {
    /// Opens a line to a server.
    pub(super) async fn dial(&self, address: &Address) -> Result<Line, FetchError> {
        match timeout_at(Instant::now() + SILENCE, self.connect(address)).await {
            Err(_) => Err(FetchError::TooSlow(address.text.clone())),
            Ok(line) => line,
        }
    }

    async fn connect(&self, address: &Address) -> Result<Line, FetchError> {
        let mut places =
            dial::addresses(&address.host, address.port).await.map_err(|error| lost(address, &error))?;
        let origin = origin_of(&address.uri).unwrap_or_default();
        places.retain(|place| self.reach.leads_to(&origin, place.ip()));
        if places.is_empty() {
            return Err(FetchError::Inside(address.text.clone()));
        }
        let (_, stream) = dial::first_of(&places).await.map_err(|error| lost(address, &error))?;
        let head = HeadBound::default();
        head.end();
        let stream = Metered { stream, meter: self.meter.clone(), head: head.clone() };
        if !address.is_tls {
            return speak(address, stream, head).await;
        }
        let wrong = || FetchError::Address(address.text.clone());
        let config = self.tls.clone().ok_or_else(wrong)?;
        let name = ServerName::try_from(address.host.clone()).map_err(|_| wrong())?;
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|error| lost(address, &error))?;
        speak(address, stream, head).await
    }
}

async fn speak(
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    head: HeadBound,
) -> Result<Line, FetchError> {
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| lost(address, &error))?;
    let driver = tokio::spawn(async move {
        // What goes wrong is seen by whoever reads the answer.
        drop(connection.await);
    });
    let (is_tls, host, port) = address.origin();
    Ok(Line {
        origin: (is_tls, host.to_owned(), port),
        sender,
        head,
        _driver: AbortOnDropHandle::new(driver),
    })
}
