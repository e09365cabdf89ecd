//! `noderr-node config check`: what the configuration means, without any secret in it.

use crate::config::{Config, KeyPlace};
use anyhow::Context as _;
use noderr_identity::{Tpm, TrustRoots};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    TrustRoots::from_pem(&config.roots_pem()?)
        .with_context(|| format!("in {}", config.control_plane.roots.display()))?;
    config.check_token()?;
    warn_of_readers(path, &config);
    println!("control plane  {}", config.control_plane.url);
    if config.identity.keys == KeyPlace::Tpm {
        Tpm::check_tcti(&config.identity.tcti)?;
    }
    match config.identity.keys {
        KeyPlace::Tpm => println!("keys           in the TPM at {}", config.identity.tcti),
        KeyPlace::Software => {
            println!("keys           in a file (the network must allow software identities)")
        }
    }
    println!(
        "data           {}, spool up to {} MiB",
        config.storage.data.display(),
        config.storage.spool_mib
    );
    println!("telemetry      every {} s", config.telemetry.sample_every_s);
    println!("ok             {}", path.display());
    Ok(())
}

/// Says so if others may read a token.
fn warn_of_readers(path: &Path, config: &Config) {
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if config.install_token().is_some() && mode & 0o007 != 0 {
        println!(
            "warning        everybody on this box may read the install token; `chmod o= {}`",
            path.display()
        );
    }
}
