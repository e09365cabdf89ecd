//! What can go wrong in the spool.

use noderr_protocol::MAX_RECORD;

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("the spool's disk refuses: {0}")]
    Disk(std::io::Error),
    /// sled is broken beyond what setting it aside can mend.
    #[error("the spool's database fails: {0}")]
    Database(String),
    /// A record over the wire's bound.
    #[error("a record of {0} bytes, at most {MAX_RECORD} are kept")]
    TooLarge(usize),
}

impl From<sled::Error> for SpoolError {
    fn from(error: sled::Error) -> Self {
        match error {
            // An error of the operating system says nothing about the bytes on the disk; an error of sled
            // itself does.
            sled::Error::Io(error) if error.raw_os_error().is_some() || is_locked(&error) => {
                Self::Disk(error)
            }
            error => Self::Database(error.to_string()),
        }
    }
}

/// Whether another process holds the lock, which sled reports as `Other` with this text inside.
pub(crate) fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}
