//! How long the box has been up.

use std::fs;

/// Seconds since boot.
pub(crate) fn uptime_s() -> u32 {
    fs::read_to_string("/proc/uptime").ok().and_then(|text| parse(&text)).unwrap_or_default()
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
