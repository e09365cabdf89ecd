//! Calls the control plane's API as JSON, and turns refusals into sentences.

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(40);
/// The most bytes of one file that a control plane hands out of releases: a beacon of every channel.
const MOST_HANDED_OUT: usize = 4 << 20;
/// The most bytes of an answer: a page of a list, with room.
const MOST_ANSWERED: usize = 32 << 20;

/// The header with the key by which a repeated request is recognised.
const KEY: &str = "idempotency-key";

/// Speaks to one control plane on behalf of one token.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Not the address of a control plane.
    #[error("`{0}` is not the address of a control plane; it begins with https://")]
    Url(String),
    /// The root certificate cannot be used.
    #[error("the root certificate cannot be used: {0}")]
    Roots(String),
    /// Nobody answers at the address, or the server's certificate is not of this network.
    #[error("cannot reach {base}: {why}")]
    Unreachable {
        /// Where.
        base: String,
        /// Why.
        why: String,
    },
    /// The control plane refused.
    #[error("{detail} ({status}, {kind})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable name of the problem.
        kind: String,
        /// The detail, in words.
        detail: String,
    },
    /// The answer is not JSON.
    #[error("the answer of {0} is not understood; is it a control plane?")]
    Answer(String),
}

impl ApiError {
    /// The stable name of the problem, if the control plane refused.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Refused { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

impl Client {
    /// A client that trusts the network's root certificate `root_pem` and nothing else.
    pub fn new(base: &str, root_pem: &str, token: Option<String>) -> Result<Self, ApiError> {
        if !base.starts_with("https://") {
            return Err(ApiError::Url(base.to_owned()));
        }
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| ApiError::Roots(error.to_string()))?;
            roots.add(certificate).map_err(|error| ApiError::Roots(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(ApiError::Roots("the file holds none".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ApiError::Roots(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(DEADLINE)
            .https_only(true)
            // A token goes to whom it was given for, and nowhere else.
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| ApiError::Roots(error.to_string()))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, http })
    }

    /// A client of the same control plane on behalf of another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// GETs a path under `/api/v1`.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None::<&()>, None).await
    }

    /// GETs a file that the control plane hands out to everybody.
    pub async fn handed_out(&self, path: &str) -> Result<Vec<u8>, ApiError> {
        self.fetched(path, self.http.get(format!("{}{path}", self.base))).await
    }

    /// GETs a part of such a file.
    pub async fn part_handed_out(&self, path: &str, part: Range<u64>) -> Result<Vec<u8>, ApiError> {
        let range = format!("bytes={}-{}", part.start, part.end.saturating_sub(1));
        self.fetched(path, self.http.get(format!("{}{path}", self.base)).header("range", range)).await
    }

    async fn fetched(&self, path: &str, request: RequestBuilder) -> Result<Vec<u8>, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let (kind, detail) = if status == StatusCode::NOT_FOUND {
                ("not-found", format!("{} hands no {path} out: it is not published", self.base))
            } else {
                ("failed", format!("{} does not hand {path} out", self.base))
            };
            return Err(ApiError::Refused { status: status.as_u16(), kind: kind.to_owned(), detail });
        }
        self.body(response, MOST_HANDED_OUT).await
    }

    /// The body of an answer, which has so many bytes at most.
    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, ApiError> {
        let (status, mut bytes) = (response.status().as_u16(), Vec::new());
        while let Some(more) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&more);
            if bytes.len() > most {
                let detail = format!("{} answers more than there can be", self.base);
                return Err(ApiError::Refused { status, kind: "failed".to_owned(), detail });
            }
        }
        Ok(bytes)
    }

    /// POSTs a body to a path under `/api/v1`. If the answer is lost, the request is sent once more under the
    /// same key, so that it takes effect once.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ApiError> {
        let key = format!("{:032x}", rand::random::<u128>());
        match self.call(Method::POST, path, Some(body), Some(&key)).await {
            Err(ApiError::Unreachable { .. }) => self.call(Method::POST, path, Some(body), Some(&key)).await,
            answered => answered,
        }
    }

    /// PATCHes a path under `/api/v1`.
    pub async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, ApiError> {
        self.call(Method::PATCH, path, Some(body), None).await
    }

    /// PUTs a body to a path under `/api/v1`. Whoever puts the same again changes nothing.
    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, ApiError> {
        self.call(Method::PUT, path, Some(body), None).await
    }

    /// PUTs a part of something large.
    pub async fn put_part(&self, path: &str, part: Vec<u8>, range: &str) -> Result<Value, ApiError> {
        let request = self.request(Method::PUT, path).header("content-range", range).body(part);
        self.answered(request).await
    }

    /// DELETEs a path under `/api/v1`.
    pub async fn delete(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::DELETE, path, None::<&()>, None).await
    }

    /// All items of a paged list, up to `most`.
    pub async fn list(&self, path: &str, most: usize) -> Result<Vec<Value>, ApiError> {
        let mut items = Vec::new();
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut next = None::<String>;
        loop {
            let limit = (most - items.len()).min(500);
            let after = next.map(|next| format!("&after={next}")).unwrap_or_default();
            let mut page = self.get(&format!("{path}{separator}limit={limit}{after}")).await?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            next = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if next.is_none() || items.len() >= most {
                return Ok(items);
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&str>,
    ) -> Result<Value, ApiError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header(KEY, key);
        }
        self.answered(request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = self.body(response, MOST_ANSWERED).await?;
        if status.is_success() {
            if status == StatusCode::NO_CONTENT || text.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&text).map_err(|_| ApiError::Answer(self.base.clone()));
        }
        let problem: Value =
            serde_json::from_slice(&text).map_err(|_| ApiError::Answer(self.base.clone()))?;
        let field = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(ApiError::Refused {
            status: status.as_u16(),
            kind: field("type").trim_start_matches("/problems/").to_owned(),
            detail: field("detail"),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        // The innermost cause tells people best what to do.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        ApiError::Unreachable { base: self.base.clone(), why: cause.to_string() }
    }
}
