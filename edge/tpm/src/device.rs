//! The connection to the TPM, made when needed and made again after any failure.

use crate::failure::Failure;
use crate::keys::{self, Keys};
use crate::proof;
use noderr_identity::TpmError;
use noderr_identity::tpm::wire::{Evidence, PublicKeys, Signer};
use noderr_protocol::PcrValue;
use std::path::PathBuf;
use std::str::FromStr as _;
use tss_esapi::{Context, TctiNameConf};

pub(crate) struct Device {
    tcti: TctiNameConf,
    /// The device file, when the TCTI is `device:`.
    path: Option<PathBuf>,
    open: Option<Open>,
}

pub(crate) struct Open {
    pub(crate) context: Context,
    pub(crate) keys: Option<Keys>,
}

impl Device {
    pub(crate) fn new(tcti: &str) -> Result<Self, TpmError> {
        let known = ["device:", "swtpm:", "tabrmd:"].iter().any(|prefix| tcti.starts_with(prefix));
        let parsed = TctiNameConf::from_str(tcti).ok().filter(|_| known);
        let path = tcti.strip_prefix("device:").map(PathBuf::from);
        Ok(Self { tcti: parsed.ok_or_else(|| TpmError::Tcti(tcti.to_owned()))?, path, open: None })
    }

    pub(crate) fn public_keys(&mut self, create: bool) -> Result<PublicKeys, TpmError> {
        self.with("show its keys", |open| {
            let keys = keys::find(&mut open.context, create)?;
            open.keys = Some(keys);
            proof::public_keys(&mut open.context, keys)
        })
    }

    pub(crate) fn sign(&mut self, signer: Signer, digest: [u8; 32]) -> Result<Vec<u8>, TpmError> {
        self.with("sign", |open| {
            let key = open.keys()?.signer(signer);
            proof::sign(&mut open.context, key, digest)
        })
    }

    pub(crate) fn activate(&mut self, blob: &[u8], secret: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.with("activate the credential", |open| {
            let keys = open.keys()?;
            proof::activate(&mut open.context, keys, blob, secret)
        })
    }

    pub(crate) fn quote(
        &mut self,
        binding: [u8; 32],
        mask: u32,
    ) -> Result<(Evidence, Vec<PcrValue>), TpmError> {
        self.with("quote", |open| {
            let keys = open.keys()?;
            proof::quote(&mut open.context, keys, binding, mask)
        })
    }

    pub(crate) fn certify(
        &mut self,
        signer: Signer,
        binding: [u8; 32],
    ) -> Result<(Vec<u8>, Evidence), TpmError> {
        self.with("certify a key", |open| {
            let keys = open.keys()?;
            proof::certify(&mut open.context, keys.ak, keys.signer(signer), binding)
        })
    }

    /// Runs one operation. After a failure the connection is dropped, and its handles and sessions with it,
    /// so that a restarted TPM gets a fresh connection. An operation that fails on an old connection is tried
    /// once more at once.
    fn with<T>(
        &mut self,
        what: &'static str,
        mut operation: impl FnMut(&mut Open) -> Result<T, Failure>,
    ) -> Result<T, TpmError> {
        let was_open = self.open.is_some();
        match self.attempt(&mut operation) {
            Err(Failure::Tss(_)) if was_open => self.attempt(&mut operation),
            result => result,
        }
        .map_err(|failure| match failure {
            Failure::Unreachable(why) => TpmError::Unreachable(why),
            Failure::KeysGone => TpmError::KeysGone,
            Failure::Tss(error) => TpmError::Refused { what: what.to_owned(), why: error.to_string() },
            Failure::Unexpected(why) => TpmError::Refused { what: what.to_owned(), why: why.to_owned() },
        })
    }

    fn attempt<T>(
        &mut self,
        operation: &mut impl FnMut(&mut Open) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.open.is_none() {
            // libtss2 would complain on the terminal, and say less.
            if let Some(path) = self.path.as_ref().filter(|path| !path.exists()) {
                let why =
                    format!("{} does not exist; is the TPM switched on in the firmware?", path.display());
                return Err(Failure::Unreachable(why));
            }
            let context =
                Context::new(self.tcti.clone()).map_err(|error| Failure::Unreachable(error.to_string()))?;
            self.open = Some(Open { context, keys: None });
        }
        let open = self.open.as_mut().expect("opened just above");
        let result = operation(open);
        if result.is_err() {
            self.open = None;
        }
        result
    }
}

impl Open {
    fn keys(&mut self) -> Result<Keys, Failure> {
        match self.keys {
            Some(keys) => Ok(keys),
            None => {
                let keys = keys::find(&mut self.context, false)?;
                self.keys = Some(keys);
                Ok(keys)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn a_tpm_that_is_not_there_is_said_to_be_missing() {
        let mut device = Device::new("device:/dev/no-such-tpm").unwrap();
        let error = device.public_keys(false).unwrap_err().to_string();
        assert!(error.contains("/dev/no-such-tpm does not exist"), "{error}");
        assert!(Device::new("bogus:x").is_err());
    }
}
