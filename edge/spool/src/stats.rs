//! The spool in figures.

/// The spool in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Records that wait.
    pub records: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// Bytes on disk, as sled counts them.
    pub disk_bytes: u64,
    /// Numbers lost to the budget, lack of space or damage since the spool was made.
    pub lost: u64,
    /// Numbers among `lost` that damage on the disk has cost since the start.
    pub damaged: u64,
    /// Records that wait and that only a later build can read.
    pub foreign: u64,
    /// Whether the database is best [begun anew](crate::Spool::begin_anew): nothing waits, and it is larger than what comes and
    /// goes makes it, or has the segments of an earlier release, which keep large records less safely.
    pub outgrown: bool,
    /// Whether the database is open; while it is not, what is spooled is counted as lost.
    pub open: bool,
}
