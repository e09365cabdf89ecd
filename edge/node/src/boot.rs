//! What changes with every start: the boot epoch, and the latest time the box has seen.

use noderr_identity::{LastSeen, TrustedClock};
use noderr_part::{Document, DocumentError, Folder};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Boot {
    epoch: u64,
    /// The latest time that was vouched for.
    seen_ms: i64,
    /// How far the system clock was ahead of `seen_ms` then.
    system_ahead_ms: i64,
}

impl Document for Boot {
    const FILE: &str = "boot.json";
}

/// Begins a boot epoch that is above every earlier one: above the last on this disk, above what the server has seen
/// (a wiped disk), and, where the clock is right, above anything before this second.
pub(crate) fn begin(data: &Folder, floor: u64) -> Result<u64, DocumentError> {
    let boot = Boot { epoch: next(data, floor), ..data.read_or_default() };
    data.write(&boot)?;
    // Again, for the copy: a start that finds the document damaged must not give this epoch out a second time.
    data.write(&boot)?;
    Ok(boot.epoch)
}

/// The epoch that would begin now.
pub(crate) fn next(data: &Folder, floor: u64) -> u64 {
    let last: Boot = data.read_or_default();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    (last.epoch.max(floor) + 1).max(seconds)
}

/// The clock to start with; `patience` is how long the control plane must keep saying what cannot be right.
pub(crate) fn clock(data: &Folder, patience: Duration) -> TrustedClock {
    let Boot { seen_ms, system_ahead_ms, .. } = data.read_or_default();
    TrustedClock::new(LastSeen { vouched_ms: seen_ms, system_ahead_ms }, patience)
}

/// Remembers a time that was vouched for, so that the next start does not begin before it.
pub(crate) fn remember(data: &Folder, clock: &TrustedClock) -> Result<(), DocumentError> {
    // A document that cannot be read now must not be replaced by one without an epoch.
    let last: Boot = data.read()?.unwrap_or_default();
    let Some(LastSeen { vouched_ms, system_ahead_ms }) = clock.last_seen() else { return Ok(()) };
    data.write(&Boot { seen_ms: vouched_ms, system_ahead_ms, ..last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_grow_whatever_the_clock_and_the_disk_say() {
        let folder = tempfile::tempdir().unwrap();
        let data = Folder::open(folder.path()).unwrap();
        let first = begin(&data, 0).unwrap();
        let second = begin(&data, 0).unwrap();
        assert!(second > first);
        let far = begin(&data, u64::MAX / 2).unwrap();
        assert_eq!(far, u64::MAX / 2 + 1);
        assert_eq!(begin(&data, 0).unwrap(), far + 1);
        std::fs::write(folder.path().join(Boot::FILE), "torn").unwrap();
        assert_eq!(begin(&data, 0).unwrap(), far + 2);
    }
}
