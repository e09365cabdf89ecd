//! Accepts TCP and completes TLS handshakes without ever waiting for a stranger.
//!
//! Handshakes run beside each other, each with a deadline. Unfinished ones are bounded for every address and in
//! all; at the bound the *oldest* unfinished one is dropped, because an honest handshake is done in milliseconds
//! and whoever has been silent longest is the least likely to be honest.

use rustls::ServerConfig;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// A finished handshake and where it came from. Boxed: it is handed on several times, and each hand would keep room.
pub type TlsConnection = (Box<TlsStream<TcpStream>>, SocketAddr);

/// How many strangers may be in the hall, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// From TCP accept to a finished handshake.
    pub handshake: Duration,
    /// Unfinished handshakes of one address.
    pub pending_per_address: usize,
    /// Unfinished handshakes in all.
    pub pending: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), pending_per_address: 256, pending: 1024 }
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
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, finished) = mpsc::channel(64);
        let acceptor = tokio::spawn(accept(listener, TlsAcceptor::from(tls), limits, sender));
        Ok(Self { address, finished, _acceptor: AbortOnDropHandle::new(acceptor) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next finished connection. Never fails for a stranger's sake; pends for ever once the gate is closed.
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
    limits: GateLimits,
    finished: mpsc::Sender<TlsConnection>,
) {
    let hall = Arc::new(Mutex::new(Hall::default()));
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
        let (guest, evicted) = lock(&hall).enter(subnet(peer.ip()), limits);
        let handshake = handshake(stream, acceptor.clone(), limits.handshake);
        let (hall, finished) = (hall.clone(), finished.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                result = handshake => result,
                _ = evicted => Err("crowded"),
            };
            lock(&hall).leave(guest);
            match result {
                Ok(stream) => drop(finished.send((stream, peer)).await),
                Err(reason) => {
                    metrics::counter!("noderr_gate_refused_total", "reason" => reason).increment(1)
                }
            }
        });
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

/// Whom to count as one: an address, or under IPv6 the network that a single subscriber has for itself.
pub fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn lock(hall: &Mutex<Hall>) -> MutexGuard<'_, Hall> {
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who waits for their handshake. Guests are numbered as they come, so the smallest number is the oldest guest.
#[derive(Default)]
struct Hall {
    last: u64,
    guests: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Hall {
    /// The oldest guest of the address that has most of them: a crowd makes room before somebody who came alone.
    fn most_crowded(&self) -> Option<u64> {
        let address = |siblings: &&BTreeSet<u64>| (siblings.len(), Reverse(siblings.first().copied()));
        self.by_address.values().max_by_key(address)?.first().copied()
    }

    /// Lets a guest in, putting another out where there is no room. The receiver fires when the guest is put out.
    fn enter(&mut self, address: IpAddr, limits: GateLimits) -> (u64, oneshot::Receiver<()>) {
        self.last += 1;
        let (evict, evicted) = oneshot::channel();
        self.guests.insert(self.last, (address, evict));
        let siblings = self.by_address.entry(address).or_default();
        siblings.insert(self.last);
        let crowded = if siblings.len() > limits.pending_per_address {
            siblings.first().copied()
        } else if self.guests.len() > limits.pending {
            self.most_crowded()
        } else {
            None
        };
        if let Some(oldest) = crowded {
            self.leave(oldest);
        }
        (self.last, evicted)
    }

    /// Forgets a guest; dropping its sender is what puts it out.
    fn leave(&mut self, guest: u64) {
        let Some((address, _evict)) = self.guests.remove(&guest) else { return };
        if let Some(siblings) = self.by_address.get_mut(&address) {
            siblings.remove(&guest);
            if siblings.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LIMITS: GateLimits =
        GateLimits { handshake: Duration::from_secs(1), pending_per_address: 2, pending: 3 };

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn a_crowd_of_one_address_puts_out_its_own_oldest_only() {
        let mut hall = Hall::default();
        let (_, mut neighbour) = hall.enter(address(9), LIMITS);
        let (_, mut first) = hall.enter(address(1), LIMITS);
        let (_, mut second) = hall.enter(address(1), LIMITS);
        let (_, mut third) = hall.enter(address(1), LIMITS);
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        for guest in [&mut neighbour, &mut second, &mut third] {
            assert_eq!(guest.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
    }

    #[test]
    fn a_crowd_of_few_addresses_does_not_put_out_who_came_alone() {
        let mut hall = Hall::default();
        let mut alone = hall.enter(address(9), LIMITS).1;
        let mut crowd: Vec<_> = (0..6).map(|n| hall.enter(address(n % 2), LIMITS).1).collect();
        assert_eq!(alone.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(crowd[3].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(hall.guests.len(), 3);
    }

    #[test]
    fn a_crowd_of_many_addresses_puts_out_the_oldest_of_all() {
        let mut hall = Hall::default();
        let mut guests: Vec<_> = (1..=4).map(|last| hall.enter(address(last), LIMITS).1).collect();
        assert_eq!(guests[0].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(guests[3].try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(hall.guests.len(), 3);
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let mut hall = Hall::default();
        for last in 0..100 {
            let (guest, _) = hall.enter(address(last), LIMITS);
            hall.leave(guest);
        }
        assert!(hall.guests.is_empty() && hall.by_address.is_empty());
    }
}
