//! Bytes from servers that may be slow, endless or hostile: a bound on everything, and no redirection, which could lead to
//! places that only the box can reach.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use noderr_part::dial;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(20);
/// What a server may take for an answer of any length, beside what the length itself allows.
const PATIENCE: Duration = Duration::from_secs(60);
/// The slowest server that is put up with: half of the slowest line that a box may have.
const SLOWEST: u64 = 2000;

/// How bytes travel.
#[derive(Clone)]
pub enum Channel {
    /// TLS with these roots.
    Tls(Arc<ClientConfig>),
    /// In the clear. What is fetched is checked all the same; whoever listens learns what it is.
    Plain,
}

/// Asks servers for bytes.
#[derive(Clone)]
pub struct Fetcher {
    channel: Channel,
}

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be asked.
    #[error("`{0}` is not an address that can be asked")]
    Address(String),
    /// Nobody answers there, or the server's certificate is not of those that are trusted.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The server was silent or slow for too long.
    #[error("{0} is too slow")]
    TooSlow(String),
    /// The server does not have it.
    #[error("{0} is not there")]
    NotThere(String),
    /// Something else than what was asked for.
    #[error("{address} answers {status}")]
    Answers {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer goes on beyond its bound.
    #[error("{address} has more than {bound} bytes to say")]
    TooLong {
        /// Where.
        address: String,
        /// The bound.
        bound: u64,
    },
}

/// An answer that is arriving. It ends with the connection when it is dropped.
struct Answer {
    address: String,
    response: Response<Incoming>,
    deadline: Instant,
    _connection: AbortOnDropHandle<()>,
}

impl Fetcher {
    /// A fetcher that speaks over this channel.
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// All bytes at an address, `bound` at most.
    pub async fn all(&self, address: &str, bound: u64) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.ask(address, bound).await?;
        let mut all = Vec::new();
        while let Some(bytes) = answer.next().await? {
            if all.len() as u64 + bytes.len() as u64 > bound {
                return Err(answer.too_long(bound));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    async fn ask(&self, address: &str, bound: u64) -> Result<Answer, FetchError> {
        let deadline = Instant::now() + PATIENCE + Duration::from_secs(bound / SLOWEST);
        let asked = self.exchange(address);
        let (response, connection) = timeout_at(Instant::now() + SILENCE, asked)
            .await
            .map_err(|_| FetchError::TooSlow(address.to_owned()))??;
        let answer = Answer { address: address.to_owned(), response, deadline, _connection: connection };
        match answer.response.status().as_u16() {
            200 => {}
            // Object stores say 403 of what they do not have.
            403 | 404 => return Err(FetchError::NotThere(answer.address)),
            status => return Err(FetchError::Answers { address: answer.address, status }),
        }
        let said = answer.response.headers().get(CONTENT_LENGTH);
        let said = said.and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|said| said > bound) {
            return Err(answer.too_long(bound));
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        address: &str,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), FetchError> {
        let wrong = || FetchError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (scheme, usual) = match self.channel {
            Channel::Tls(_) => ("https", 443),
            Channel::Plain => ("http", 80),
        };
        if uri.scheme_str() != Some(scheme) {
            return Err(wrong());
        }
        let request = Request::builder()
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .body(Empty::<Bytes>::new())
            .map_err(|_| wrong())?;

        let lost = |why: String| FetchError::Unreachable { address: address.to_owned(), why };
        let port = authority.port_u16().unwrap_or(usual);
        let places = dial::addresses(&host, port).await.map_err(|error| lost(error.to_string()))?;
        let (_, tcp) = dial::first_of(&places).await.map_err(|error| lost(error.to_string()))?;
        match &self.channel {
            Channel::Plain => send(tcp, request).await.map_err(lost),
            Channel::Tls(config) => {
                let name = ServerName::try_from(host).map_err(|_| wrong())?;
                let tls = TlsConnector::from(config.clone()).connect(name, tcp).await;
                send(tls.map_err(|error| lost(error.to_string()))?, request).await.map_err(lost)
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(async move {
        // What goes wrong is seen by whoever reads the answer.
        drop(connection.await);
    });
    let connection = AbortOnDropHandle::new(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok((response, connection))
}

impl Answer {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let soon = self.deadline.min(Instant::now() + SILENCE);
            let Ok(frame) = timeout_at(soon, self.response.body_mut().frame()).await else {
                return Err(FetchError::TooSlow(self.address.clone()));
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| FetchError::Unreachable {
                address: self.address.clone(),
                why: error.to_string(),
            })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    fn too_long(&self, bound: u64) -> FetchError {
        FetchError::TooLong { address: self.address.clone(), bound }
    }
}
