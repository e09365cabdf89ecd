//! A small HTTPS client: JSON in, JSON out, a deadline and a bound on everything.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use noderr_part::dial;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsConnector;

const MAX_ANSWER: usize = 1 << 20;

/// Calls one control plane.
#[derive(Clone)]
pub struct HttpsClient {
    base: Uri,
    tls: Arc<ClientConfig>,
    deadline: Duration,
}

/// An RFC 9457 problem: what the control plane says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable name of the problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in words.
    #[serde(default)]
    pub detail: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The address is not an https:// address.
    #[error("`{0}` is not an https:// address of a control plane")]
    Address(String),
    /// Nobody answers at the address, or the server's certificate is not of this network.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {deadline:?}")]
    Silent {
        /// Where.
        address: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The control plane refused.
    #[error("the control plane refused ({}): {}", .0.status, .0.detail)]
    Refused(Problem),
    /// No TLS can be spoken with these roots, or no request be made of these values.
    #[error("the call cannot be made: {0}")]
    Unusable(String),
    /// The answer is not what it should be.
    #[error("the control plane's answer is not understood: {0}")]
    Answer(String),
}

impl CallError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused(problem) => problem.status >= 500 || problem.status == 429,
            Self::Address(_) | Self::Unusable(_) | Self::Answer(_) => false,
        }
    }
}

/// An answer, and the certificate of the server that gave it.
pub(crate) struct Answer<T> {
    pub(crate) body: T,
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl HttpsClient {
    /// A client for `base`, such as `https://control.example.org:8443`.
    pub fn new(base: &str, tls: ClientConfig, deadline: Duration) -> Result<Self, CallError> {
        let address = || CallError::Address(base.to_owned());
        let uri: Uri = base.trim_end_matches('/').parse().map_err(|_| address())?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            return Err(address());
        }
        Ok(Self { base: uri, tls: Arc::new(tls), deadline })
    }

    /// POSTs JSON to a path under `/api/v1`.
    pub async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Unusable(error.to_string()))?;
        Ok(self.call(Method::POST, path, body).await?.body)
    }

    /// GETs JSON from a path under `/api/v1`.
    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<Answer<A>, CallError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer<A>, CallError> {
        match tokio::time::timeout(self.deadline, self.exchange(method, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Silent { address: self.address(), deadline: self.deadline }),
        }
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer<A>, CallError> {
        let host = self.base.host().unwrap_or_default();
        let port = self.base.port_u16().unwrap_or(443);
        let addresses =
            dial::addresses(host.trim_matches(['[', ']']), port).await.map_err(|e| self.lost(e))?;
        let (_, tcp) = dial::first_of(&addresses).await.map_err(|e| self.lost(e))?;
        tcp.set_nodelay(true).map_err(|error| self.lost(error))?;
        let name =
            ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| self.lost(e))?;
        let tls = TlsConnector::from(self.tls.clone()).connect(name, tcp).await.map_err(|e| self.lost(e))?;
        let certificate =
            tls.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.clone().into_owned());

        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| self.lost(error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CallError::Unusable(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| self.lost(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| CallError::Answer(error.to_string()))?
            .to_bytes();
        driver.abort();
        if status.is_success() {
            let body = serde_json::from_slice(&body).map_err(|error| CallError::Answer(error.to_string()))?;
            return Ok(Answer { body, certificate });
        }
        Err(CallError::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            status: status.as_u16(),
            kind: "about:blank".to_owned(),
            detail: format!("HTTP {status}"),
        })))
    }

    fn address(&self) -> String {
        self.base.authority().map(ToString::to_string).unwrap_or_default()
    }

    fn lost(&self, why: impl std::error::Error) -> CallError {
        // The source often says more than the error ("certificate expired" below "invalid data").
        let mut text = why.to_string();
        let mut source = why.source();
        while let Some(inner) = source {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            source = inner.source();
        }
        if text.contains("UnknownIssuer") {
            text.push_str("; whoever answers there is not of the network whose roots this box was given (control_plane.roots)");
        }
        CallError::Unreachable { address: self.address(), why: text }
    }
}
