//! Why metadata is not trusted, in few words that say what is to be done about it.

use sigstore_tuf::Error;
use std::fmt;

/// Why something is not trusted, or not known.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nobody answers, or answers in time: to be tried again.
    #[error("the metadata cannot be fetched: {0}")]
    Unreachable(String),
    /// What came must not be used.
    #[error("{why}: {detail}")]
    Refused {
        /// Why.
        why: Refusal,
        /// What was found, in words.
        detail: String,
    },
    /// What is trusted cannot be kept on the disk.
    #[error("the metadata cannot be kept: {0}")]
    Disk(std::io::Error),
}

/// Why metadata is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has ended: nobody has renewed it, or somebody shows what is old.
    Expired,
    /// It is older than what the box has seen.
    RolledBack,
    /// Too few of the keys that may sign it have.
    NotSigned,
    /// It is not what the metadata above it says that it is.
    Mismatched,
    /// It cannot be read, or means nothing.
    Malformed,
    /// No key names what was asked for.
    NotNamed,
}

impl Refusal {
    pub(crate) fn because(self, detail: String) -> TrustError {
        TrustError::Refused { why: self, detail }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the metadata has ended",
            Self::RolledBack => "the metadata goes back",
            Self::NotSigned => "the metadata is not signed by those who may",
            Self::Mismatched => "the metadata is not what it should be",
            Self::Malformed => "the metadata is not understood",
            Self::NotNamed => "it is not released",
        })
    }
}

impl From<Error> for TrustError {
    fn from(error: Error) -> Self {
        let why = match &error {
            Error::Transport { message, source } => {
                let cause = source.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                return Self::Unreachable(format!("{message}{cause}"));
            }
            Error::Io { source, .. } => {
                return Self::Disk(std::io::Error::new(source.kind(), source.to_string()));
            }
            Error::Expired { .. } => Refusal::Expired,
            Error::Rollback { .. } | Error::BadRootVersion { .. } | Error::EqualVersion { .. } => {
                Refusal::RolledBack
            }
            Error::DuplicateSignature { .. } | Error::ThresholdNotMet { .. } | Error::Crypto(_) => {
                Refusal::NotSigned
            }
            Error::IntegrityMismatch(_) => Refusal::Mismatched,
            Error::TargetNotFound(_) => Refusal::NotNamed,
            _ => Refusal::Malformed,
        };
        why.because(error.to_string())
    }
}
