//! Keys of release managers that an HSM or a smart card keeps: the key's file says only where the key is.

use super::proof::read_secret;
use anyhow::{Context as _, ensure};
use noderr_hsm::{HsmConfig, HsmKey};
use noderr_releases::{PublicKey, ReleaseError, ReleaseKey};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a key is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HsmPlace {
    /// The library of the HSM's vendor.
    pub(super) module: PathBuf,
    /// Label of the token.
    pub(super) token: String,
    /// Label of the key.
    pub(super) key: String,
}

/// A key that an HSM keeps.
pub(super) struct HsmReleaseKey {
    key: HsmKey,
    public: PublicKey,
}

impl HsmPlace {
    /// What the file of a key says, if an HSM keeps the key.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Asks for the PIN, and finds the key.
    pub(super) fn unlock(self) -> anyhow::Result<HsmReleaseKey> {
        HsmReleaseKey::new(HsmKey::open(self.asked()?)?)
    }

    /// Asks for the PIN, and makes the key.
    pub(super) fn make(self) -> anyhow::Result<HsmReleaseKey> {
        HsmReleaseKey::new(HsmKey::create(self.asked()?)?)
    }

    fn asked(self) -> anyhow::Result<HsmConfig> {
        let Self { module, token, key } = self;
        ensure!(module.is_absolute(), "{} does not say from the root where the library is", module.display());
        eprintln!("the key is behind the library {}", module.display());
        let pin = read_secret(&format!("PIN of the token {token}: "))?.into();
        Ok(HsmConfig { module, token, key, pin })
    }
}

impl HsmReleaseKey {
    fn new(key: HsmKey) -> anyhow::Result<Self> {
        let public = PublicKey::p256(key.public()).context("the HSM has a key that cannot be named")?;
        Ok(Self { key, public })
    }
}

impl ReleaseKey for HsmReleaseKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, ReleaseError> {
        self.key.sign(bytes).map_err(|error| ReleaseError::Key(error.to_string()))
    }
}
