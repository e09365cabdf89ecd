//! The settings of PostgreSQL: a database that is given, or a private cluster.

use crate::settings::{Secret, Settings};
use serde::Deserialize;
use std::path::PathBuf;

/// `[database]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// The owner's URL. Without the URL, a private cluster is run in the data folder.
    pub url: Option<Secret>,
    /// URL of the role `noderr_api`. Without the URL, requests run on the owner's connections under that
    /// role.
    pub api_url: Option<Secret>,
    /// Folder of PostgreSQL's programs for the private cluster; the newest installed if absent.
    pub binaries: Option<PathBuf>,
    /// User that the private cluster runs as when the control plane is started by root.
    pub user: String,
    /// Connections of the control plane itself, and of requests; half as many again each for strangers and for looking credentials up.
    pub connections: u32,
    /// MiB that stay free on the disk of the private cluster.
    pub reserve_mib: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        let user = "postgres".to_owned();
        Self { url: None, api_url: None, binaries: None, user, connections: 10, reserve_mib: 512 }
    }
}

impl Settings for DatabaseSettings {
    const SECTION: &'static str = "database";
    const EXAMPLE: &'static str = include_str!("settings.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        // One listens for notices for ever, and whoever ingests must not wait for whoever logs in.
        anyhow::ensure!(self.connections >= 4, "database.connections must be 4 or more");
        Ok(())
    }
}
