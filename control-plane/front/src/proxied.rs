//! Connections through a proxy that is trusted: it says first whose connection it is (PROXY protocol, version 1 or 2), so that
//! strangers behind it are counted each for themselves.

use ipnet::IpNet;
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest header of version 1; version 2 says its own length, of which no more is taken than this.
const LONGEST: usize = 536;
/// What a header of version 2 begins with, up to and with its length.
const FIXED: usize = 16;

/// The networks of trusted proxies.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether connections from this address are a proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

/// Reads the header, and not a byte more; returns the address of whoever is behind the proxy.
pub(crate) async fn source(stream: &mut TcpStream, proxy: SocketAddr) -> io::Result<SocketAddr> {
    let mut header = Vec::with_capacity(FIXED);
    loop {
        let wanted = missing(&header)?;
        if wanted == 0 {
            break;
        }
        let read = header.len();
        header.resize(read + wanted, 0);
        stream.read_exact(&mut header[read..]).await?;
    }
    address(&header, proxy)
}

/// How many bytes of the header are missing at least.
fn missing(header: &[u8]) -> io::Result<usize> {
    let wanted = if header.len() < v2::PROTOCOL_PREFIX.len() {
        v2::PROTOCOL_PREFIX.len()
    } else if header.starts_with(v2::PROTOCOL_PREFIX) {
        match header.get(FIXED - 2..FIXED) {
            Some(length) => FIXED + usize::from(u16::from_be_bytes([length[0], length[1]])),
            None => FIXED,
        }
    } else if header.ends_with(b"\r\n") {
        header.len()
    } else {
        header.len() + 1
    };
    if wanted > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no header of a proxy is that long"));
    }
    Ok(wanted - header.len())
}

fn address(header: &[u8], proxy: SocketAddr) -> io::Result<SocketAddr> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a header of the PROXY protocol");
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return Err(malformed());
    }
    // A proxy that speaks for itself (a health check) says no address.
    Ok(match parsed {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(it) => SocketAddr::from((it.source_address, it.source_port)),
            v1::Addresses::Tcp6(it) => SocketAddr::from((it.source_address, it.source_port)),
            v1::Addresses::Unknown => proxy,
        },
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::IPv4(it) => SocketAddr::from((it.source_address, it.source_port)),
            v2::Addresses::IPv6(it) => SocketAddr::from((it.source_address, it.source_port)),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => proxy,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(malformed()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    async fn told(header: &[u8]) -> io::Result<(SocketAddr, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut proxy = TcpStream::connect(listener.local_addr()?).await?;
        proxy.write_all(header).await?;
        proxy.write_all(b"rest").await?;
        drop(proxy);
        let (mut stream, peer) = listener.accept().await?;
        let source = source(&mut stream, peer).await?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await?;
        Ok((source, rest))
    }

    fn version_2(command: u8, body: &[u8]) -> Vec<u8> {
        let family = if body.len() == 12 { 0x11 } else { 0x21 };
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn whoever_is_behind_the_proxy_is_named_and_nothing_else_is_read() {
        let ipv4 = [198, 51, 100, 7, 10, 0, 0, 1, 0x04, 0xd2, 0x01, 0xbb];
        for header in [b"PROXY TCP4 198.51.100.7 10.0.0.1 1234 443\r\n".to_vec(), version_2(1, &ipv4)] {
            let (source, rest) = told(&header).await.unwrap();
            assert_eq!((source, rest.as_str()), ("198.51.100.7:1234".parse().unwrap(), "rest"));
        }
        let (source, _) = told(b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 443\r\n").await.unwrap();
        assert_eq!(source, "[2001:db8::7]:1234".parse().unwrap());
        let (source, rest) = told(b"PROXY UNKNOWN\r\n").await.unwrap();
        assert_eq!((source.ip(), rest.as_str()), (IpAddr::from([127, 0, 0, 1]), "rest"));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [&b"PROXY "[..], &[b'x'; 2000]].concat();
        let lies = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 100]].concat();
        for header in [&b"GET / HTTP/1.1\r\nhost: x\r\n"[..], &long, &lies, b"PROXY TCP4 x y 1 2\r\n"] {
            assert!(told(header).await.is_err());
        }
    }

    #[test]
    fn only_the_networks_that_are_named_are_trusted() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(
            trusted.trusts("10.9.9.9".parse().unwrap()) && trusted.trusts("::ffff:10.1.1.1".parse().unwrap())
        );
        assert!(!trusted.trusts("11.0.0.1".parse().unwrap()));
        assert!(!TrustedProxies::default().trusts("127.0.0.1".parse().unwrap()));
    }
}
