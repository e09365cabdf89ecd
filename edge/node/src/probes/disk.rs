//! The file system of the data folder.

use super::Probe;
use noderr_part::Disk;
use noderr_protocol::Metric;
use std::path::Path;

pub(super) fn probe(folder: &Path) -> Probe {
    let folder = folder.to_owned();
    Box::new(move |sample| {
        let disk = Disk::of(&folder).ok();
        sample
            .with(Metric::DiskUsed, disk.map(|disk| disk.used / 1024))
            .with(Metric::DiskTotal, disk.map(|disk| disk.total / 1024))
    })
}
