//! Crowds at the API's door: strangers who hold connections cost others nothing.

use crate::lab;
use anyhow::Context as _;
use noderr_hil::{ControlOptions, LabOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PLACES: usize = 8;
const REQUEST: &[u8] = b"GET /api/v1/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A neighbour: the same machine under another address.
struct Neighbour {
    tls: TlsConnector,
    api: SocketAddr,
}

impl Neighbour {
    fn new(root: &Path, api: SocketAddr) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), api })
    }

    async fn knock(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0)))?;
        let tcp = socket.connect(self.api).await?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, tcp).await?)
    }
}

/// What comes until the server hangs up, with or without a goodbye.
async fn rest(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<String> {
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
    if let Err(error) = end.context("the server does not hang up")? {
        anyhow::ensure!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "not a hang-up: {error}"
        );
    }
    Ok(String::from_utf8(said)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_holds_all_its_connections_keeps_nobody_else_out() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("http", format!("connections_per_address = {PLACES}"));
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let neighbour = Neighbour::new(&lab.control.root_file(), lab.control.api())?;

    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut slow = neighbour.knock().await?;
        slow.write_all(&REQUEST[..9]).await?;
        held.push(slow);
    }
    let mut late = neighbour.knock().await?;
    // It may be gone before the request is written.
    drop(late.write_all(REQUEST).await);
    assert_eq!(rest(&mut late).await?, "", "an address that holds {PLACES} connections is given another");
    assert!(lab.admin.get("/operators").await.is_ok(), "others are kept out");

    // Nobody holds a place for long without a request.
    for slow in &mut held {
        assert!(!rest(slow).await?.contains("200 OK"));
    }
    let mut back = neighbour.knock().await?;
    back.write_all(REQUEST).await?;
    assert!(rest(&mut back).await?.starts_with("HTTP/1.1 200"), "the places did not come back");
    Ok(())
}
