//! The TPM: everybody asks through [`Tpm`]; one thread passes on what is asked to a process that has the TPM's library,
//! `noderr-tpm`, which lives while there is work.
//!
//! A TPM that does not answer costs its callers a deadline and nothing more: they get [`TpmError::Silent`], and
//! the next call after it came back succeeds. There is no fallback to another key.

mod actor;
mod helper;
pub mod wire;

pub use actor::Tpm;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the TPM.
#[derive(Debug, Clone)]
pub struct TpmConfig {
    /// `noderr-tpm`.
    pub program: PathBuf,
    /// TCTI string: `device:/dev/tpmrm0` on boxes, `swtpm:host=127.0.0.1,port=2321` on rigs.
    pub tcti: String,
    /// How long one command may take.
    pub deadline: Duration,
}

/// Commands since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TpmStats {
    /// Commands that were answered.
    pub answered: u64,
    /// Commands that failed or were not answered in time.
    pub failed: u64,
}

/// Why the TPM did not do what it was asked.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
pub enum TpmError {
    /// The TCTI string is wrong.
    #[error("`{0}` is not a TPM connection; use `device:/dev/tpmrm0` or `swtpm:host=…,port=…`")]
    Tcti(String),
    /// The program that speaks to the TPM does not.
    #[error("{program}: {why}", program = .program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// No connection.
    #[error("the TPM cannot be reached: {0}")]
    Unreachable(String),
    /// No answer within the deadline.
    #[error("the TPM did not answer within {0:?}")]
    Silent(Duration),
    /// Too many callers wait for the TPM already.
    #[error("too many calls wait for the TPM")]
    Busy,
    /// The TPM answered with an error.
    #[error("the TPM refused to {what}: {why}")]
    Refused {
        /// What the TPM was asked to do.
        what: String,
        /// The TPM's response code in words.
        why: String,
    },
    /// The keys this box enrolled with are gone.
    #[error(
        "the TPM no longer holds this node's keys: it was cleared or replaced. Enrol again with a new install token"
    )]
    KeysGone,
}
