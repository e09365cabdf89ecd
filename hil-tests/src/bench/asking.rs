//! Clients that ask one web server, over HTTPS and connections that stay, for as long as they are let.

use anyhow::{Context as _, ensure};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What each client asks for, given a number of its own.
pub(super) type Asks = Arc<dyn Fn(u64) -> Question + Send + Sync>;

/// One request, and how many bytes answer it.
pub(super) struct Question {
    pub(super) path: String,
    /// First byte and last, if not all is asked for.
    pub(super) range: Option<(u64, u64)>,
    pub(super) bytes: u64,
}

/// Asks with so many clients for `time`; returns the answers a second.
pub(super) async fn ask(
    server: SocketAddr,
    roots: &Path,
    clients: u64,
    time: Duration,
    asks: &Asks,
) -> anyhow::Result<f64> {
    let mut certificates = rustls::RootCertStore::empty();
    certificates.add(CertificateDer::from_pem_file(roots)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(certificates)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut lines = Vec::new();
    for _ in 0..clients {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        lines.push(connector.connect("localhost".try_into()?, stream).await?);
    }
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for (client, line) in (0..).zip(lines) {
        asking.spawn(one(line, client << 32, began + time, asks.clone()));
    }
    let mut answers = 0;
    while let Some(done) = asking.join_next().await {
        answers += done??;
    }
    Ok(answers as f64 / began.elapsed().as_secs_f64())
}

async fn one(mut line: TlsStream<TcpStream>, first: u64, end: Instant, asks: Asks) -> anyhow::Result<u64> {
    let (mut answers, mut bytes) = (0, vec![0; 64 * 1024]);
    while Instant::now() < end {
        let Question { path, range, bytes: length } = asks(first + answers);
        let range = range.map(|(first, last)| format!("range: bytes={first}-{last}\r\n")).unwrap_or_default();
        line.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{range}\r\n").as_bytes()).await?;
        line.flush().await?;
        let (mut head, mut body) = (Vec::new(), 0_u64);
        let mut whole = None;
        while whole.is_none_or(|length| body < length) {
            let read = line.read(&mut bytes).await?;
            ensure!(read > 0, "the server hangs up on {path}");
            if whole.is_some() {
                body += read as u64;
                continue;
            }
            head.extend_from_slice(&bytes[..read]);
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                whole = Some(length_in(&head[..end])?);
                body = (head.len() - end - 4) as u64;
            }
        }
        ensure!(whole == Some(length), "{path} has {whole:?} bytes and not {length}");
        answers += 1;
    }
    Ok(answers)
}

fn length_in(head: &[u8]) -> anyhow::Result<u64> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 20"), "the server says {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(length.context("an answer without a length")?.trim().parse()?)
}
