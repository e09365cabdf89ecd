//! HTTP as bytes: for requests that a well-behaved client never sends, and for answers that are not JSON.

use anyhow::Context as _;
use noderr_cli::ApiError;
use noderr_hil::{ControlPlane, Lab};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client on this machine, under one of its loopback addresses.
pub(crate) struct Caller {
    tls: TlsConnector,
    api: SocketAddr,
    from: [u8; 4],
}

impl Caller {
    pub(crate) fn new(lab: &Lab, from: [u8; 4]) -> anyhow::Result<Self> {
        Self::of(&lab.control, from)
    }

    fn of(plane: &ControlPlane, from: [u8; 4]) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(plane.root_file())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), api: plane.api(), from })
    }

    /// A connection to a port of the control plane, without TLS.
    pub(crate) fn dial(&self, port: u16) -> impl Future<Output = anyhow::Result<TcpStream>> + Send + use<> {
        let (from, to) = (SocketAddr::from((self.from, 0)), SocketAddr::new(self.api.ip(), port));
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(from)?;
            Ok(socket.connect(to).await?)
        }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let tcp = self.dial(self.api.port()).await?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, tcp).await?)
    }

    /// Sends one request; returns the whole answer.
    pub(crate) async fn ask(&self, request: &str) -> anyhow::Result<String> {
        let mut stream = self.connect().await?;
        // A server that has heard enough may hang up before the last byte; its answer counts.
        if let Err(error) = stream.write_all(request.as_bytes()).await {
            anyhow::ensure!(
                matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "cannot ask: {error}"
            );
        }
        rest(&mut stream).await
    }
}

/// The value of a metric of a control plane, over all its labels.
pub(crate) async fn counted(plane: &ControlPlane, name: &str) -> anyhow::Result<f64> {
    let metrics = Caller::of(plane, [127, 0, 0, 1])?.ask(&get("/metrics")).await?;
    let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let values = metrics.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// Everything that the server sends until it hangs up, with or without a TLS goodbye.
pub(crate) async fn rest(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<String> {
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

/// The kind of problem a call was refused with.
pub(crate) fn refused_as(result: Result<Value, ApiError>) -> String {
    match result {
        Err(error) => error.kind().map_or_else(|| error.to_string(), str::to_owned),
        Ok(value) => format!("not refused: {value}"),
    }
}

/// A GET that ends its connection.
pub(crate) fn get(path: &str) -> String {
    format!("GET /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}
