//! What a control plane shows to everybody.

use super::ControlPlane;
use anyhow::Context as _;
use noderr_update::{FetchError, Fetcher, Reach};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

impl ControlPlane {
    fn tls(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.root_file())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// The first line of the answer to bytes that begin a request.
    pub async fn first_line(&self, request: &[u8]) -> anyhow::Result<String> {
        let url = self.api_url();
        let (host, port) = url.rsplit_once(':').context("the API has no port")?;
        let host = host.trim_start_matches("https://").to_owned();
        let stream = TcpStream::connect((host.as_str(), port.parse()?)).await?;
        let mut stream = TlsConnector::from(self.tls()?).connect(host.try_into()?, stream).await?;
        stream.write_all(request).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok(line)
    }

    /// What lies at a path, if something does.
    pub async fn shows(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let fetcher = Fetcher::new(self.tls()?, Reach::Anywhere);
        match fetcher.all(&format!("{}{path}", self.api_url()), 64 << 20).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FetchError::NotThere(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
