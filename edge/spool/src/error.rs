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
            sled::Error::Io(error) => Self::Disk(error),
            error => Self::Database(error.to_string()),
        }
    }
}
