//! `noderr-node config check`: what the configuration means, without any secret in it.

use crate::config::{Config, KeyPlace};
use anyhow::Context as _;
use noderr_identity::{Tpm, TrustRoots};
use std::path::Path;

pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    TrustRoots::from_pem(&config.roots_pem()?)
        .with_context(|| format!("in {}", config.control_plane.roots.display()))?;
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
