//! What can go wrong inside one operation of the TPM.

pub(crate) enum Failure {
    Unreachable(String),
    KeysGone,
    Tss(tss_esapi::Error),
    Unexpected(&'static str),
}

impl From<tss_esapi::Error> for Failure {
    fn from(error: tss_esapi::Error) -> Self {
        Self::Tss(error)
    }
}
