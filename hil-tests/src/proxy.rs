//! A cable that can be cut: a TCP proxy on loopback between a box and the control plane.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
}

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

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut quality: watch::Receiver<LinkQuality>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else { return };
        if quality.wait_for(|quality| *quality != LinkQuality::Silent).await.is_err() {
            return;
        }
        let late = *quality.borrow();
        if let LinkQuality::Slow(by) = late {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
