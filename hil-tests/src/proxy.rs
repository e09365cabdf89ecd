//! A cable that can be cut: a TCP proxy on loopback between a box and the control plane.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The quality of the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkQuality {
    /// As good as loopback.
    Up,
    /// Connections break, new ones are refused.
    Down,
    /// Nothing breaks and nothing passes: a router that lost its uplink.
    Silent,
    /// Every piece of data is late by this much.
    Slow(Duration),
    /// So many kbit a second each way, and everything arrives late by this much.
    Narrow {
        /// The rate, in kbit a second.
        kbit: u32,
        /// How long everything is on its way.
        late: Duration,
    },
}

/// Bytes of a piece on a narrow line, so that small pieces do not wait long behind large ones.
const PIECE: usize = 512;
/// Pieces that can be on their way at once.
const ON_THE_WAY: usize = 64;

/// A proxy; listens on a port of its own for as long as the value lives.
pub struct Proxy {
    address: SocketAddr,
    quality: watch::Sender<LinkQuality>,
    targets: watch::Sender<Vec<SocketAddr>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy that forwards to the first of `targets` that can be reached.
    pub async fn start(targets: Vec<SocketAddr>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (quality, quality_seen) = watch::channel(LinkQuality::Up);
        let (targets, targets_seen) = watch::channel(targets);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(forward(stream, targets_seen.clone(), quality_seen.clone()));
            }
        });
        Ok(Self { address, quality, targets, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// The address on which the proxy listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the cable better or worse, for connections that stand and for new ones.
    pub fn set_quality(&self, quality: LinkQuality) {
        self.quality.send_replace(quality);
    }

    /// Sets the targets of new connections.
    pub fn set_targets(&self, targets: Vec<SocketAddr>) {
        self.targets.send_replace(targets);
    }
}

async fn forward(
    client: TcpStream,
    targets: watch::Receiver<Vec<SocketAddr>>,
    mut quality: watch::Receiver<LinkQuality>,
) {
    if *quality.borrow() == LinkQuality::Down {
        return;
    }
    // The targets are tried in order; if all refuse, the client sees a closed connection.
    let targets = targets.borrow().clone();
    let Ok(server) = TcpStream::connect(&targets[..]).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pump(client_read, server_write, quality.clone()) => {}
        () = pump(server_read, client_write, quality.clone()) => {}
        _ = quality.wait_for(|quality| *quality == LinkQuality::Down) => {}
    }
}

/// Hands on what comes from one side to the other, as the quality of the cable allows.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, quality: watch::Receiver<LinkQuality>) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    tokio::join!(take(from, sender, quality.clone()), give(to, receiver, quality));
}

/// Takes pieces at the rate of the line, each with the time at which it arrives.
async fn take(
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<(Instant, Vec<u8>)>,
    mut quality: watch::Receiver<LinkQuality>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let now = *quality.borrow();
        let most = if let LinkQuality::Narrow { .. } = now { PIECE } else { buffer.len() };
        let Ok(len @ 1..) = from.read(&mut buffer[..most]).await else { return };
        if quality.wait_for(|quality| *quality != LinkQuality::Silent).await.is_err() {
            return;
        }
        let late = match *quality.borrow() {
            LinkQuality::Narrow { kbit, late } => {
                Some((Duration::from_micros(len as u64 * 8000 / u64::from(kbit)), late))
            }
            LinkQuality::Slow(by) => Some((by, Duration::ZERO)),
            _ => None,
        };
        let mut arrives = Instant::now();
        if let Some((takes, late)) = late {
            tokio::time::sleep(takes).await;
            arrives = Instant::now() + late;
        }
        if sender.send((arrives, buffer[..len].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut quality: watch::Receiver<LinkQuality>,
) {
    while let Some((arrives, piece)) = receiver.recv().await {
        tokio::time::sleep_until(arrives).await;
        let passes = quality.wait_for(|quality| *quality != LinkQuality::Silent).await.is_ok();
        if !passes || to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
