//! Why a key cannot be used, whoever keeps it.

use crate::TpmError;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The TPM refused, or did not answer.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The key file is unusable.
    #[error("the software key cannot be used: {0}")]
    Software(String),
    /// The task that used the key panicked.
    #[error("the task that used the key panicked: {0}")]
    Panicked(String),
    /// The request could not be encoded.
    #[error("the certificate request cannot be made: {0}")]
    Request(#[from] rcgen::Error),
}
