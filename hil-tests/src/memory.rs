//! The memory of a process, as the operating system's kernel tells it.

use anyhow::Context as _;
use std::fs;

/// The KiB in a line of a process's status, such as `VmRSS:`.
pub fn memory_kib(pid: u32, what: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("no such line")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
