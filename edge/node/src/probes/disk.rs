//! The file system of the data folder.

use std::path::Path;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disk {
    pub(crate) used_kib: u64,
    pub(crate) total_kib: u64,
    pub(crate) free_kib: u64,
}

pub(crate) fn disk(path: &Path) -> Disk {
    let Ok(stat) = rustix::fs::statvfs(path) else { return Disk::default() };
    let kib = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / 1024;
    Disk {
        used_kib: kib(stat.f_blocks.saturating_sub(stat.f_bfree)),
        total_kib: kib(stat.f_blocks),
        free_kib: kib(stat.f_bavail),
    }
}
