//! An HSM in software, used over PKCS#11 like any other.

use anyhow::{Context as _, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A token of SoftHSM in a folder of its own.
pub struct SoftHsm {
    configuration: PathBuf,
}

impl SoftHsm {
    /// The library that speaks PKCS#11.
    pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
    /// The label of the token.
    pub const TOKEN: &str = "noderr";
    /// The user's PIN.
    pub const PIN: &str = "5678";

    /// Makes the token.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let tokens = folder.join("tokens");
        fs::create_dir_all(&tokens)?;
        let configuration = folder.join("softhsm2.conf");
        fs::write(&configuration, format!("directories.tokendir = {}\n", tokens.display()))?;
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", Self::TOKEN, "--so-pin", "1234", "--pin", Self::PIN])
            .env("SOFTHSM2_CONF", &configuration)
            .output()
            .context("softhsm2-util is missing; `./dev test` installs softhsm2")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(Self { configuration })
    }

    /// What a program that uses the token finds in its environment.
    pub fn environment(&self) -> (String, String) {
        ("SOFTHSM2_CONF".to_owned(), self.configuration.display().to_string())
    }
}
