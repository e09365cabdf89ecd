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
            sled::Error::Io(error) if is_locked(&error) => Self::Disk(error),
            // An error of the operating system says nothing about the bytes on the disk, which were all read before sled was
            // let near them; an error of sled itself does.
            sled::Error::Io(error) => match of_the_system(&error) {
                Some(code) => Self::Disk(std::io::Error::from_raw_os_error(code)),
                None => Self::Database(error.to_string()),
            },
            error => Self::Database(error.to_string()),
        }
    }
}

/// The number of an error of the operating system. One that was met by a thread of sled's own comes as text.
fn of_the_system(error: &std::io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let text = error.to_string();
        let (number, _) = text.split_once("Os { code: ")?.1.split_once(',')?;
        number.parse().ok()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_disk_is_one_whichever_thread_of_sled_met_it() {
        let full = || std::io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        for met in [sled::Error::Io(full()), sled::Error::Io(full()).clone()] {
            let error = SpoolError::from(met);
            let of_the_disk = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
            assert!(matches!(&error, SpoolError::Disk(error) if of_the_disk(error)), "{error:?}");
        }
        let broken = sled::Error::Io(std::io::Error::other("a corrupt segment"));
        assert!(matches!(SpoolError::from(broken), SpoolError::Database(_)));
    }
}
