//! Connecting to a host of several addresses: the next address is tried soon after the one before, because a home whose
//! IPv6 leads nowhere answers nothing, and nothing takes minutes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The head start of each address over the next (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses of a host, in the order in which the system would try them.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(found)
}

/// The first connection that comes about, and its place among the addresses.
pub async fn first_of(addresses: &[SocketAddr]) -> io::Result<(usize, TcpStream)> {
    let mut attempts = JoinSet::new();
    for (place, address) in addresses.iter().copied().enumerate() {
        let start = HEAD_START * u32::try_from(place).unwrap_or(u32::MAX);
        attempts.spawn(async move {
            tokio::time::sleep(start).await;
            TcpStream::connect(address).await.map(|stream| (place, stream))
        });
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to");
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => last = error,
            Err(error) => last = io::Error::other(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::net::{TcpListener, TcpSocket};

    /// A port that answers nothing at all: its queue is full, so that the kernel drops what knocks.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        (listener, waiting)
    }

    #[tokio::test]
    async fn an_address_without_a_path_costs_a_moment() {
        let (hole, _waiting) = black_hole().await;
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let since = Instant::now();
        let both = [hole.local_addr().unwrap(), open.local_addr().unwrap()];
        assert_eq!(first_of(&both).await.unwrap().0, 1);
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }

    #[tokio::test]
    async fn where_nobody_listens_there_is_an_error() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(first_of(&[gone]).await.is_err());
    }
}
