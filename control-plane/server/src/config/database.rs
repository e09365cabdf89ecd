//! PostgreSQL: somebody's, or a private one.

use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// The owner's URL. Without it a private cluster is run in the data folder.
    pub(crate) url: Option<SecretString>,
    /// URL of the role `noderr_api`; without it the owner's connection takes that role on.
    pub(crate) api_url: Option<SecretString>,
    /// Folder of PostgreSQL's programs for the private cluster; the newest installed if absent.
    pub(crate) binaries: Option<PathBuf>,
    /// User that the private cluster runs as when the control plane is started by root.
    pub(crate) user: String,
    /// Connections of each of the two pools.
    pub(crate) connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, api_url: None, binaries: None, user: "postgres".to_owned(), connections: 10 }
    }
}
