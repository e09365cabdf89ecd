//! Where a box lets itself be led: not to what only the box can reach, such as its router or another device of the house.

use hyper::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Those of the internet, and the one server that the box's owner has named.
    Internet {
        /// The control plane, such as `https://control.example.org:8443`, which may stand in the same house.
        named: String,
    },
    /// Any: in a network that is all of one owner.
    Anywhere,
}

impl Reach {
    /// Whether a server of this origin may be asked at this address.
    pub(super) fn leads_to(&self, origin: &str, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Internet { named } => {
                let named = named.parse().ok().and_then(|named| origin_of(&named));
                named.is_some_and(|named| named.eq_ignore_ascii_case(origin)) || is_of_internet(address)
            }
        }
    }
}

/// Scheme, host and port of an address, such as `https://control.example.org:443`.
pub(super) fn origin_of(address: &Uri) -> Option<String> {
    let (scheme, authority) = (address.scheme_str()?, address.authority()?);
    let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(format!("{scheme}://{}:{port}", authority.host()))
}

fn is_of_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_unspecified()
        || a == 0
        || a >= 240
        // Between a home and its provider.
        || (a == 100 && (64..128).contains(&b))
        // For protocols and for tests of networks.
        || (a == 192 && b == 0)
        || (a == 198 && (18..20).contains(&b)))
}

/// Global unicast is what begins with 001, without Teredo and the addresses of documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && second < 0x0200)
        && !(first == 0x2001 && second == 0x0db8)
}

/// The address of the old protocol that one of the new protocol stands for: mapped, translated, or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let at = |from: usize| bytes[from..].first_chunk::<4>().map(|four| Ipv4Addr::from(*four));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => at(12),
        [0x2002, ..] => at(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_led_to_the_internet_and_not_into_the_house() {
        let reach = Reach::Internet { named: "https://control.lan:8443/".to_owned() };
        let leads = |host: &str, address: &str| reach.leads_to(host, address.parse().unwrap());
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:192.168.1.1",
            "64:ff9b::a00:1",
            "2002:c0a8:101::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "198.18.0.1",
            "192.0.0.8",
        ] {
            assert!(!leads("https://mirror.example.org:443", inside), "{inside}");
            assert!(leads("https://Control.lan:8443", inside), "{inside}");
            for other in ["https://control.lan:443", "http://control.lan:8443"] {
                assert!(!leads(other, inside), "{other} at {inside}");
            }
        }
        let reach = Reach::Internet { named: "https://control.lan".to_owned() };
        assert!(reach.leads_to("https://control.lan:443", "10.1.2.3".parse().unwrap()));
        for outside in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "100.128.0.1"] {
            assert!(leads("https://mirror.example.org:443", outside), "{outside}");
        }
    }
}
