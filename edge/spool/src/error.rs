//! What can go wrong in the spool.

use noderr_protocol::MAX_RECORD;
use rustix::io::Errno;

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("the spool's disk refuses: {0}")]
    Disk(std::io::Error),
    /// What is on the disk cannot be read as a database: it is set aside, and a new one begun.
    #[error("the spool's database fails: {0}")]
    Database(String),
    /// sled panicked: it must not be dropped any more, and keeps its lock on the folder for as long as the process lives.
    #[error("the spool's database panicked")]
    Panicked,
    /// The database is closed after a failure, and is not to be tried again yet.
    #[error("the spool is closed: {0}")]
    Closed(String),
    /// A sync that others waited for has failed.
    #[error("the spool's writes did not reach the disk")]
    Unsynced,
    /// A record over the wire's bound.
    #[error("a record of {0} bytes, at most {MAX_RECORD} are kept")]
    TooLarge(usize),
}

impl From<sled::Error> for SpoolError {
    fn from(error: sled::Error) -> Self {
        match error {
            // An error of the operating system says nothing about the bytes on the disk, which were all read before sled was
            // let near them; an error of sled itself does.
            sled::Error::Io(error) if error.raw_os_error().is_some() || is_locked(&error) => {
                Self::Disk(error)
            }
            error => Self::Database(error.to_string()),
        }
    }
}

/// Whether the disk does not give back what is on it: a sector that has gone bad, or a file system that is damaged there.
pub(crate) fn is_unreadable(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN | Errno::ILSEQ))
}

/// Whether another process holds the lock, which sled reports as `Other` with this text inside.
pub(crate) fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}
