//! A bucket of a store that speaks S3, over TLS of ours.

use crate::ObjectsError;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a store may take to answer, or to take a part.
const DEADLINE: Duration = Duration::from_secs(120);

/// A bucket, and who asks for it.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The store, such as `https://s3.example.org`.
    pub url: String,
    /// The bucket.
    pub name: String,
    /// The region, as the store calls it.
    pub region: String,
    /// Whose key it is.
    pub key_id: String,
    /// File that holds the key.
    pub key_file: PathBuf,
    /// File with the store's root certificates, PEM.
    pub roots: PathBuf,
}

/// One HTTP client for all that is asked of the store.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    pub(crate) fn open(&self) -> Result<AmazonS3, ObjectsError> {
        let key = fs::read_to_string(&self.key_file)
            .map_err(|why| ObjectsError::Io { path: self.key_file.clone(), why })?;
        let store = AmazonS3Builder::new()
            .with_endpoint(self.url.trim_end_matches('/'))
            .with_bucket_name(&self.name)
            .with_region(&self.region)
            .with_access_key_id(&self.key_id)
            .with_secret_access_key(key.trim())
            // For rehearsals; `releases.s3.url` says which it is.
            .with_allow_http(self.url.starts_with("http://"))
            .with_http_connector(Connector(self.client()?));
        Ok(store.build()?)
    }

    fn client(&self) -> Result<reqwest::Client, ObjectsError> {
        let wrong = |why: std::io::Error| ObjectsError::Io { path: self.roots.clone(), why };
        let pem = fs::read(&self.roots).map_err(wrong)?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem) {
            let root = root.map_err(|error| wrong(std::io::Error::other(error)))?;
            roots.add(root).map_err(|error| wrong(std::io::Error::other(error)))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(std::io::Error::other(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(DEADLINE).no_proxy();
        client.build().map_err(|error| wrong(std::io::Error::other(error)))
    }
}
