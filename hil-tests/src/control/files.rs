//! What a control plane shows to everybody.

use super::ControlPlane;
use noderr_update::{FetchError, Fetcher, Reach};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;

impl ControlPlane {
    /// What lies at a path, if something does.
    pub async fn shows(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.root_file())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let fetcher = Fetcher::new(Arc::new(config), Reach::Anywhere);
        match fetcher.all(&format!("{}{path}", self.api_url()), 64 << 20).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FetchError::NotThere(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
