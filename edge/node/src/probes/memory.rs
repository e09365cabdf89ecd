//! Memory in use, from /proc/meminfo.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;

pub(super) fn probe() -> Probe {
    Box::new(|sample| {
        let (used_kib, total_kib) = memory().unzip();
        sample.with(Metric::MemoryUsed, used_kib).with(Metric::MemoryTotal, total_kib)
    })
}

/// Used and total KiB; what the kernel could give back at once does not count as used.
fn memory() -> Option<(u64, u64)> {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse(&text))
}

fn parse(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = field("MemTotal:")?;
    Some((total.checked_sub(field("MemAvailable:")?)?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_not_used() {
        let text = "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  600 kB\n";
        assert_eq!(parse(text), Some((400, 1000)));
        assert_eq!(parse("MemTotal: 5 kB"), None);
    }
}
