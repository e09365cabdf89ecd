//! `noderr-node config check`: what the configuration means, without any secret in it.

use crate::config::{Config, KeyPlace};
use anyhow::Context as _;
use noderr_identity::{Tpm, TrustRoots};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) fn check(path: &Path) -> anyhow::Result<String> {
    let config = Config::load(path)?;
    TrustRoots::from_pem(&config.roots_pem()?)
        .with_context(|| format!("in {}", config.control_plane.roots.display()))?;
    config.check_token()?;
    config.check_places()?;
    if config.identity.keys == KeyPlace::Tpm {
        Tpm::check(&config.identity.tpm()?)?;
    }
    let keys = match config.identity.keys {
        KeyPlace::Tpm => format!("in the TPM at {}", config.identity.tcti),
        KeyPlace::Software => "in a file (the network must allow software identities)".to_owned(),
    };
    let stick = config.releases.stick.as_ref().map_or_else(String::new, |folder| {
        let is_there = folder.join("metadata/timestamp.json").is_file();
        let now = if is_there { "one is there now" } else { "none is there now" };
        format!("sticks         at {}, {now}\n", folder.display())
    });
    let releases = &config.releases;
    let month = releases.month_mib.map_or_else(|| "any number of".to_owned(), |mib| mib.to_string());
    let bounds = format!("up to {} MiB on disk, {month} MiB a month over the network", releases.store_mib);
    let words = releases.words().join(", ");
    Ok(format!(
        "{}control plane  {}\nkeys           {keys}\ndata           {}, spool up to {} MiB\nreleases       {bounds}, for {words}\n{stick}telemetry      every {} s\nok             {}\n",
        warning_of_readers(path, &config),
        config.control_plane.url,
        config.storage.data.display(),
        config.storage.spool_mib,
        config.telemetry.sample_every_s,
        path.display()
    ))
}

/// What there is to say if others may read a token.
fn warning_of_readers(path: &Path, config: &Config) -> String {
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if config.install_token().is_none() || mode & 0o007 == 0 {
        return String::new();
    }
    format!(
        "warning        everybody on this box may read the install token; `chmod o= {}`\n",
        path.display()
    )
}
