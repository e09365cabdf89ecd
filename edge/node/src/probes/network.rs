//! Bytes over all interfaces but loopback, from /proc/net/dev.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;

pub(super) fn probe() -> Probe {
    Box::new(|sample| {
        let (received, sent) = network().unzip();
        sample.with(Metric::NetworkReceived, received).with(Metric::NetworkSent, sent)
    })
}

/// Received and sent since boot.
fn network() -> Option<(u64, u64)> {
    fs::read_to_string("/proc/net/dev").ok().map(|text| parse(&text))
}

fn parse(dev: &str) -> (u64, u64) {
    dev.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
        .filter_map(|(_, numbers)| {
            let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
            Some((*numbers.first()?, *numbers.get(8)?))
        })
        .fold((0, 0), |(rx, tx), (more_rx, more_tx)| (rx + more_rx, tx + more_tx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-| Receive\n face |bytes\n  lo: 9 0 0 0 0 0 0 0 9 0\neth0: 100 1 0 0 0 0 0 0 50 1 0\nwlan0: 1 0 0 0 0 0 0 0 2 0\n";
        assert_eq!(parse(text), (101, 52));
    }
}
