//! What stands in the way of a release, from wherever it comes: whether it passes, and why in words.

use crate::fetch::FetchError;
use crate::store::{PutError, StoreError};
use crate::trust::{Refusal, TrustError};
use noderr_archive::NotTheArtefact;
use noderr_protocol::release::ReleaseRefusal;
use std::io::ErrorKind;

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setback {
    /// It passes: to be tried again.
    Passing(String),
    /// It does not pass until something else changes.
    Refused {
        /// Why.
        why: ReleaseRefusal,
        /// In words.
        detail: String,
    },
}

impl Setback {
    /// What stands in the way, in words.
    pub fn why(&self) -> &str {
        match self {
            Self::Passing(why) => why,
            Self::Refused { detail, .. } => detail,
        }
    }

    /// The same, with what stands in the way besides.
    #[must_use]
    pub fn and(self, more: &str) -> Self {
        match self {
            Self::Passing(why) => Self::Passing(format!("{why}; {more}")),
            Self::Refused { why, detail } => Self::Refused { why, detail: format!("{detail}; {more}") },
        }
    }

    pub(crate) const fn refused(why: ReleaseRefusal, detail: String) -> Self {
        Self::Refused { why, detail }
    }
}

impl From<TrustError> for Setback {
    fn from(error: TrustError) -> Self {
        let TrustError::Refused { why, detail } = error else { return Self::Passing(error.to_string()) };
        let why_here = match why {
            Refusal::Expired | Refusal::RolledBack => ReleaseRefusal::Stale,
            Refusal::NotSigned => ReleaseRefusal::NotSigned,
            Refusal::Mismatched => ReleaseRefusal::Mismatched,
            Refusal::Malformed => ReleaseRefusal::Malformed,
            Refusal::NotNamed => ReleaseRefusal::NotNamed,
        };
        Self::refused(why_here, format!("{why}: {detail}"))
    }
}

impl From<FetchError> for Setback {
    fn from(error: FetchError) -> Self {
        Self::Passing(error.to_string())
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Io { why, .. } if why.kind() == ErrorKind::StorageFull => {
                Self::Passing(format!("the disk is full: {error}"))
            }
            StoreError::Io { .. } | StoreError::Lost(_) | StoreError::Artefact(NotTheArtefact::Io(_)) => {
                Self::Passing(error.to_string())
            }
            StoreError::NoRoom { .. } => Self::refused(ReleaseRefusal::Room, error.to_string()),
            StoreError::Index(_) => Self::refused(ReleaseRefusal::Malformed, error.to_string()),
            StoreError::Artefact(NotTheArtefact::NotBuilt(_)) => {
                Self::refused(ReleaseRefusal::NotBuilt, error.to_string())
            }
            StoreError::Artefact(_) => Self::refused(ReleaseRefusal::Mismatched, error.to_string()),
        }
    }
}

impl From<PutError> for Setback {
    fn from(error: PutError) -> Self {
        match error {
            PutError::NotTheChunk(error) => Self::refused(ReleaseRefusal::Mismatched, error.to_string()),
            PutError::Store(error) => error.into(),
        }
    }
}
