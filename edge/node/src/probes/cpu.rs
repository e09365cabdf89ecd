//! Busy share of all cores between two looks at /proc/stat.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;

pub(super) fn probe() -> Probe {
    let mut meter = CpuMeter::default();
    Box::new(move |sample| sample.with(Metric::Cpu, meter.permille()))
}

#[derive(Default)]
struct CpuMeter {
    last: Option<(u64, u64)>,
}

impl CpuMeter {
    /// The busy share in thousandths since the last call; `None` at the first call, which has nothing to
    /// compare with.
    fn permille(&mut self) -> Option<u64> {
        let (busy, total) = fs::read_to_string("/proc/stat").ok().and_then(|text| parse(&text))?;
        let (busy_then, total_then) = self.last.replace((busy, total))?;
        let ticks = total.checked_sub(total_then).filter(|ticks| *ticks > 0)?;
        Some((busy.saturating_sub(busy_then) * 1000 / ticks).min(1000))
    }
}

/// Busy and total ticks of the line `cpu  user nice system idle iowait …`.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let total = ticks.iter().sum();
    let idle: u64 = ticks.get(3..5)?.iter().sum();
    Some((total - idle, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_iowait_are_not_busy() {
        assert_eq!(parse("cpu  10 0 20 60 10 0 0 0 0 0\ncpu0 1 2 3"), Some((30, 100)));
        assert_eq!(parse("nothing"), None);
    }
}
