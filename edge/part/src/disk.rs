//! The disk of the box, and the ledger of what each part may take of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes in use.
    pub used: u64,
    /// Bytes there are.
    pub total: u64,
    /// Bytes that an ordinary user may still take.
    pub free: u64,
}

impl Disk {
    /// Asks the file system of `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Self {
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            total: bytes(stat.f_blocks),
            free: bytes(stat.f_bavail),
        })
    }
}

/// Who may take how much of the disk: every part that keeps more than a small document claims its share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Ledger {
    /// Puts down, or changes, what a part may take at most.
    pub fn claim(&self, part: &'static str, most_bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, most_bytes);
    }

    /// Every claim.
    pub fn claims(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By how much the claims together exceed a disk of `total` bytes, if they do.
    pub fn excess(&self, total: u64) -> Option<u64> {
        let claimed = self.claims().values().fold(0_u64, |sum, most| sum.saturating_add(*most));
        claimed.checked_sub(total).filter(|excess| *excess > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_add_up_and_a_later_one_takes_the_place_of_the_one_before() {
        let ledger = Ledger::default();
        ledger.claim("spool", 300);
        ledger.claim("models", 100);
        assert_eq!(ledger.excess(400), None);
        ledger.claim("spool", 350);
        assert_eq!(ledger.excess(400), Some(50));
        ledger.claim("models", u64::MAX);
        assert!(ledger.excess(400).is_some());
    }

    #[test]
    fn a_disk_has_no_more_in_use_than_there_is_and_a_folder_that_is_not_there_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let disk = Disk::of(place.path()).unwrap();
        assert!(disk.used <= disk.total && disk.free <= disk.total && disk.total > 0);
        assert!(Disk::of(&place.path().join("nothing")).is_err());
    }
}
