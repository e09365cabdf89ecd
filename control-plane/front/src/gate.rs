//! Accepts TCP and completes TLS handshakes without ever waiting for a stranger.
//!
//! Handshakes run beside each other, each with a deadline. Unfinished handshakes are a [`Crowd`]: at its
//! bounds the *oldest* unfinished handshake is dropped, because an honest handshake is done in milliseconds,
//! and the peer that has been silent longest is the least likely to be honest.

use crate::address::subnet;
use crate::crowd::{Crowd, CrowdLimits};
use crate::proxied::{TrustedProxies, source};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// A connection whose handshake is finished, and the peer's address. Boxed: the stream moves through several
/// futures, and each would reserve its full size.
pub type TlsConnection = (Box<TlsStream<TcpStream>>, SocketAddr);

/// How many handshakes may be unfinished, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// The longest time from TCP accept to a finished handshake.
    pub handshake: Duration,
    /// How many handshakes may be unfinished.
    pub pending: CrowdLimits,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), pending: CrowdLimits { most: 1024, per_address: 256 } }
    }
}

/// A listening socket behind which only finished TLS connections appear.
pub struct Gate {
    address: SocketAddr,
    finished: mpsc::Receiver<TlsConnection>,
    _acceptor: AbortOnDropHandle<()>,
}

impl Gate {
    /// Binds and starts accepting.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        limits: GateLimits,
        proxies: TrustedProxies,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, finished) = mpsc::channel(64);
        let acceptor = tokio::spawn(accept(listener, TlsAcceptor::from(tls), (limits, proxies), sender));
        Ok(Self { address, finished, _acceptor: AbortOnDropHandle::new(acceptor) })
    }

    /// The address on which the gate listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next finished connection. A stranger cannot make the wait fail; it never ends once the
    /// gate is closed.
    pub async fn next(&mut self) -> TlsConnection {
        match self.finished.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    (limits, proxies): (GateLimits, TrustedProxies),
    finished: mpsc::Sender<TlsConnection>,
) {
    let pending = Crowd::new(limits.pending);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that died in the queue: neither ends the listener.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (acceptor, pending, finished) = (acceptor.clone(), pending.clone(), finished.clone());
        let deadline = limits.handshake;
        if proxies.trusts(peer.ip()) {
            tokio::spawn(async move {
                let mut stream = stream;
                match tokio::time::timeout(deadline, source(&mut stream, peer)).await {
                    Ok(Ok(behind)) => admit(stream, behind, acceptor, (deadline, pending, finished)).await,
                    _ => metrics::counter!("noderr_gate_refused_total", "reason" => "proxy").increment(1),
                }
            });
        } else {
            tokio::spawn(admit(stream, peer, acceptor, (deadline, pending, finished)));
        }
    }
}

/// Completes the handshake of one connection and hands it on.
async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    (deadline, pending, finished): (Duration, Crowd, mpsc::Sender<TlsConnection>),
) {
    // Unfinished handshakes are never busy, so there is always a place.
    let Some(place) = pending.enter(subnet(peer.ip())) else { return };
    let result = tokio::select! {
        result = handshake(stream, acceptor, deadline) => result,
        () = place.out().cancelled() => Err("crowded"),
    };
    drop(place);
    match result {
        // Sending fails only after the gate is closed, when nobody serves connections any more.
        Ok(stream) => _ = finished.send((stream, peer)).await,
        Err(reason) => metrics::counter!("noderr_gate_refused_total", "reason" => reason).increment(1),
    }
}

async fn handshake(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    deadline: Duration,
) -> Result<Box<TlsStream<TcpStream>>, &'static str> {
    stream.set_nodelay(true).map_err(|_| "socket")?;
    match tokio::time::timeout(deadline, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(_)) => Err("handshake"),
        Err(_) => Err("timeout"),
    }
}
