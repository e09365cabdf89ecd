//! The settings of the certificate authority.

use noderr_kernel::Settings;
use noderr_protocol::enrol::renewal_due;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// `[authority]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthoritySettings {
    /// Folder of the authority's key and root; `authority` in the data folder if absent. Every instance of a
    /// network needs the same.
    pub folder: Option<PathBuf>,
    /// The key in an HSM instead of a file in that folder.
    pub pkcs11: Option<Pkcs11>,
    /// Days a node certificate is valid. A node renews its certificate when a third of the days has passed.
    pub certificate_days: u32,
    /// Days that must be left after that third: how long a node may be offline and still connect.
    pub renew_leaves_days: u32,
    /// Overrides `certificate_days` with seconds, for rehearsals.
    pub certificate_seconds: Option<u64>,
}

/// A key that an HSM keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11 {
    /// The vendor's PKCS#11 library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the key, which is made at the first start.
    pub key: String,
    /// File with the user's PIN.
    pub pin_file: PathBuf,
}

impl Settings for AuthoritySettings {
    const SECTION: &'static str = "authority";
    const EXAMPLE: &'static str = include_str!("authority.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        const DAY: i64 = 86_400;
        let life = i64::from(self.certificate_days) * DAY;
        let left_days = (life - renewal_due(0, life)) / DAY;
        anyhow::ensure!(
            left_days >= i64::from(self.renew_leaves_days),
            "authority.certificate_days = {} leaves a node {left_days} days after renewal is due, but \
             authority.renew_leaves_days asks for {}",
            self.certificate_days,
            self.renew_leaves_days
        );
        Ok(())
    }
}

impl Default for AuthoritySettings {
    fn default() -> Self {
        Self {
            folder: None,
            pkcs11: None,
            certificate_days: 45,
            renew_leaves_days: 30,
            certificate_seconds: None,
        }
    }
}

impl AuthoritySettings {
    /// How long a node certificate is valid.
    pub fn node_validity(&self) -> Duration {
        let days = Duration::from_secs(u64::from(self.certificate_days) * 86_400);
        self.certificate_seconds.map_or(days, Duration::from_secs)
    }
}
