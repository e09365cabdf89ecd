//! How long the box has been up.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;

pub(super) fn probe() -> Probe {
    Box::new(|sample| sample.with(Metric::Uptime, uptime_s()))
}

/// Seconds since boot.
fn uptime_s() -> Option<u32> {
    fs::read_to_string("/proc/uptime").ok().and_then(|text| parse(&text))
}

fn parse(uptime: &str) -> Option<u32> {
    uptime.split(['.', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds() {
        assert_eq!(parse("350735.47 234388.90\n"), Some(350_735));
    }
}
