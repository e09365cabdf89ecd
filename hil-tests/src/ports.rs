//! Ports for programs that must be told one before they start.

use anyhow::bail;
use std::net::TcpListener;

/// Below what the system gives to outgoing connections: between here and the program's start nobody takes it by chance.
const LOW: std::ops::Range<u16> = 10_240..32_000;

/// So many neighbouring ports that are free; the first of them.
pub(crate) fn free_ports(count: u16) -> anyhow::Result<u16> {
    for _ in 0..200 {
        let first = rand::random_range(LOW);
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("no {count} free neighbouring ports")
}
