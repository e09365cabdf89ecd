//! The login that is remembered between commands, in a 0600 file.

use crate::arguments::Connection;
use anyhow::{Context as _, bail};
use atomic_write_file::OpenOptions;
use atomic_write_file::unix::OpenOptionsExt as _;
use noderr_cli::Client;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A login: the control plane's URL, the root certificate to trust, and the token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) url: String,
    pub(crate) root_pem: String,
    pub(crate) token: Option<String>,
}

impl Login {
    /// The remembered login, overridden by the options that were typed.
    pub(crate) fn resolve(typed: &Connection) -> anyhow::Result<Self> {
        let remembered = Self::load()?;
        let url = typed.url.clone().or_else(|| remembered.as_ref().map(|login| login.url.clone()));
        let Some(url) = url else {
            bail!(
                "which control plane? Pass --url and --ca once to `noderrctl login`, or set NODERR_URL and NODERR_CA"
            );
        };
        let root_pem = match (&typed.ca, &remembered) {
            (Some(path), _) => fs::read_to_string(path)
                .with_context(|| format!("cannot read the root certificate {}", path.display()))?,
            (None, Some(login)) => login.root_pem.clone(),
            (None, None) => {
                bail!("which root certificate? Pass --ca with the network's (ca.pem), or set NODERR_CA")
            }
        };
        // A token is only for the control plane that issued it.
        let same = |login: &Self| login.url.trim_end_matches('/') == url.trim_end_matches('/');
        let token = typed.token.clone().or_else(|| remembered.filter(same).and_then(|login| login.token));
        Ok(Self { url, root_pem, token })
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url, &self.root_pem, self.token.clone())?)
    }

    pub(crate) fn load() -> anyhow::Result<Option<Self>> {
        let path = path()?;
        match fs::read_to_string(&path) {
            Ok(text) => {
                let wrong = || format!("{} is damaged; remove it and log in again", path.display());
                serde_json::from_str(&text).map(Some).with_context(wrong)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let path = path()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut file = OpenOptions::new().preserve_mode(false).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.commit().with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn forget() -> anyhow::Result<()> {
        match fs::remove_file(path()?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn path() -> anyhow::Result<PathBuf> {
    let folder = match (std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => PathBuf::from(home).join(".config"),
        (None, None) => bail!("neither XDG_CONFIG_HOME nor HOME is set: there is nowhere to keep a login"),
    };
    Ok(folder.join("noderr").join("login.json"))
}
