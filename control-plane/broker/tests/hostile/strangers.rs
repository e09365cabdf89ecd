//! Strangers without a certificate.

use crate::world::{World, YEAR};
use noderr_protocol::NodeId;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// A connection from one of many addresses.
async fn knock(target: SocketAddr, from: u32) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let [_, _, third, fourth] = from.to_be_bytes();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, third, fourth.max(1)), 0)))?;
    socket.connect(target).await
}

/// Sends the beginning of a long ClientHello, a byte at a time, for as long as the broker listens.
async fn drip(mut stream: TcpStream) {
    let mut beginning = [0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc, 0x03, 0x03]
        .into_iter()
        .chain(std::iter::repeat(0));
    while stream.write_all(&[beginning.next().unwrap_or_default()]).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_strangers_neither_block_nor_slow_an_honest_node() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let world = World::begin().await;
    world.honest_node_is_served().await;
    let target = world.broker.address();

    let (mut held, mut dripping) = (Vec::new(), tokio::task::JoinSet::new());
    for n in 0..10_000_u32 {
        // Half of the strangers come from one address, the others each from an address of their own.
        let from = if n % 2 == 0 { 1 } else { n };
        let Ok(mut stream) = knock(target, from).await else { continue };
        match n % 4 {
            // Silent.
            0 | 1 => {}
            // A handshake that comes a byte at a time.
            2 if n % 8 == 2 => {
                dripping.spawn(drip(stream));
                continue;
            }
            // A handshake that is never finished.
            2 => drop(stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).await),
            // Nonsense.
            _ => drop(stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await),
        }
        held.push(stream);
        if n % 2000 == 1999 {
            let since = Instant::now();
            drop(world.connected(NodeId::from_bytes(rand::random())).await);
            assert!(
                since.elapsed() < Duration::from_secs(2),
                "waited {:?} among {n} strangers",
                since.elapsed()
            );
        }
    }
    let made = held.len() + dripping.len();
    assert!(made > 9_000, "only {made} connections were made");
    let since = Instant::now();
    world.honest_node_is_served().await;
    assert!(since.elapsed() < Duration::from_secs(3), "waited {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_worth_nothing() {
    let (here, elsewhere) = (World::begin().await, World::begin().await);
    let node = NodeId::from_bytes([1; 32]);
    // In TLS 1.3 the client finishes before the server has looked at the client's certificate: the refusal
    // comes on reading.
    if let Ok(mut client) = elsewhere.try_dial_at(node, &here, YEAR).await {
        client.is_hung_up_on().await;
    }
    assert!(here.try_dial(node).await.is_ok());
}
