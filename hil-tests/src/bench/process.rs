//! Figures of a process, as the operating system's kernel tells them.

use anyhow::Context as _;
use std::fs;

/// Processor time so far, in clock ticks, with that of children that have ended.
pub(super) fn ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no such format")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11..15].iter().map(|field| Ok(field.parse::<u64>()?)).sum()
}

/// The processes that a process has started, and those that they have started.
pub(super) fn descendants(pid: u32) -> anyhow::Result<Vec<u32>> {
    let (mut found, mut looked) = (vec![pid], 0);
    while let Some(parent) = found.get(looked).copied() {
        looked += 1;
        for task in fs::read_dir(format!("/proc/{parent}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(found.split_off(1))
}
