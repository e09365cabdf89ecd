//! Free ports, for programs that must be told their port before they start.

use anyhow::bail;
use std::net::TcpListener;

/// Ports below those of outgoing connections, so that no connection takes the port by chance before the
/// program starts.
const LOW: std::ops::Range<u16> = 10_240..32_000;

/// Finds `count` neighbouring ports that are free; returns the first of them.
pub(crate) fn free_ports(count: u16) -> anyhow::Result<u16> {
    for _ in 0..200 {
        let first = rand::random_range(LOW);
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("no {count} free neighbouring ports")
}
