//! The file system of the data folder.

use super::Probe;
use noderr_protocol::Metric;
use std::path::Path;

pub(super) fn probe(folder: &Path) -> Probe {
    let folder = folder.to_owned();
    Box::new(move |sample| {
        let disk = disk(&folder);
        sample
            .with(Metric::DiskUsed, disk.map(|disk| disk.used_kib))
            .with(Metric::DiskTotal, disk.map(|disk| disk.total_kib))
    })
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) used_kib: u64,
    pub(crate) total_kib: u64,
    pub(crate) free_kib: u64,
}

pub(crate) fn disk(path: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let kib = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / 1024;
    Some(Disk {
        used_kib: kib(stat.f_blocks.saturating_sub(stat.f_bfree)),
        total_kib: kib(stat.f_blocks),
        free_kib: kib(stat.f_bavail),
    })
}
