//! The node's one TOML file, as the flash tool or a person writes it. Every field but the control plane's address
//! and roots has a default.

mod releases;

pub(crate) use releases::Releases;

use anyhow::Context as _;
use noderr_identity::TpmConfig;
use noderr_protocol::enrol::{INSTALL_TOKEN_LENGTH, INSTALL_TOKEN_PREFIX};
use noderr_protocol::{HostPort, Topics};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) control_plane: ControlPlane,
    #[serde(default)]
    pub(crate) identity: Identity,
    #[serde(default)]
    pub(crate) storage: Storage,
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    #[serde(default)]
    pub(crate) link: Link,
    #[serde(default)]
    pub(crate) releases: Releases,
    #[serde(default)]
    pub(crate) status: Status,
}

/// The control plane to enrol with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlPlane {
    /// Like `https://control.example.org:8443`.
    pub(crate) url: String,
    /// File with the network's root certificate, PEM.
    pub(crate) roots: PathBuf,
    /// The install token itself. Used once.
    pub(crate) install_token: Option<SecretString>,
    /// Seconds a call may take.
    #[serde(default = "default_deadline_s")]
    pub(crate) deadline_s: u64,
    /// Seconds for which the control plane must keep saying a time that cannot be right before it is believed.
    #[serde(default = "default_clock_patience_s")]
    pub(crate) clock_patience_s: u64,
}

/// Where the keys live.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// `tpm`, or `software` where the network allows it.
    pub(crate) keys: KeyPlace,
    /// TPM connection.
    pub(crate) tcti: String,
    /// Seconds one TPM command may take.
    pub(crate) tpm_deadline_s: u64,
    /// A copy of the firmware's event log that the node may read.
    pub(crate) event_log: PathBuf,
}

impl Identity {
    /// How the TPM is reached: by `noderr-tpm`, which is installed beside this program.
    pub(crate) fn tpm(&self) -> anyhow::Result<TpmConfig> {
        let here = std::env::current_exe().context("cannot tell where this program is")?;
        Ok(TpmConfig {
            program: here.with_file_name("noderr-tpm"),
            tcti: self.tcti.clone(),
            deadline: Duration::from_secs(self.tpm_deadline_s),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyPlace {
    Tpm,
    Software,
}

/// The data folder and the spool in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Storage {
    /// The data folder, with everything that must survive a power cut.
    pub(crate) data: PathBuf,
    /// MiB that the spool may take on disk.
    pub(crate) spool_mib: u64,
}

/// Measurements.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Seconds between samples, until the control plane says otherwise.
    pub(crate) sample_every_s: u16,
    /// Milliseconds between samples instead, for rehearsals under load; the control plane's wish is then ignored.
    pub(crate) sample_every_ms: Option<u64>,
    /// Samples written to the spool together.
    pub(crate) batch: usize,
    /// Seconds after which collected samples are written even if they are fewer than `batch`.
    pub(crate) batch_every_s: u64,
}

/// The session with the broker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Link {
    /// Topic prefix of the network.
    pub(crate) prefix: String,
    /// Host and port of the broker in place of those that enrolment gave: for a tunnel, or a test rig.
    pub(crate) broker: Option<String>,
    /// Seconds between heartbeats.
    pub(crate) heartbeat_every_s: u64,
    /// Longest pause between attempts to connect, in seconds.
    pub(crate) longest_pause_s: u64,
}

/// The local status socket.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Status {
    /// The path of the socket.
    pub(crate) socket: PathBuf,
}

const fn default_deadline_s() -> u64 {
    20
}

const fn default_clock_patience_s() -> u64 {
    3600
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            keys: KeyPlace::Tpm,
            tcti: "device:/dev/tpmrm0".to_owned(),
            tpm_deadline_s: 5,
            event_log: "/run/noderr/event-log".into(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { data: "/var/lib/noderr".into(), spool_mib: 256 }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { sample_every_s: 10, sample_every_ms: None, batch: 6, batch_every_s: 60 }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            prefix: Topics::DEFAULT_PREFIX.to_owned(),
            broker: None,
            heartbeat_every_s: 30,
            longest_pause_s: 120,
        }
    }
}

/// What Linux allows, without the zero at the end.
const LONGEST_SOCKET: usize = 107;

impl Default for Status {
    fn default() -> Self {
        Self { socket: "/run/noderr/node.sock".into() }
    }
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the configuration {} is wrong", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.topics()?;
        anyhow::ensure!(
            config.control_plane.url.starts_with("https://"),
            "control_plane.url must begin with https://, it is `{}`",
            config.control_plane.url
        );
        if let Some(broker) = &config.link.broker {
            broker.parse::<HostPort>().context("link.broker")?;
        }
        anyhow::ensure!(config.telemetry.sample_every_s > 0, "telemetry.sample_every_s must be at least 1");
        anyhow::ensure!((1..=256).contains(&config.telemetry.batch), "telemetry.batch must be 1 to 256");
        anyhow::ensure!(
            (1..=1 << 30).contains(&config.storage.spool_mib),
            "storage.spool_mib must be 1 to {}",
            1 << 30
        );
        anyhow::ensure!(config.control_plane.deadline_s > 0, "control_plane.deadline_s must be at least 1");
        anyhow::ensure!(
            config.telemetry.sample_every_ms != Some(0),
            "telemetry.sample_every_ms must be at least 1"
        );
        for (setting, value) in [
            ("link.heartbeat_every_s", config.link.heartbeat_every_s),
            ("link.longest_pause_s", config.link.longest_pause_s),
            ("identity.tpm_deadline_s", config.identity.tpm_deadline_s),
        ] {
            anyhow::ensure!(value >= 1, "{setting} must be at least 1");
        }
        config.releases.check()?;
        Ok(config)
    }

    /// The install token without the blanks around it: it is copied by hand.
    pub(crate) fn install_token(&self) -> Option<&str> {
        self.control_plane.install_token.as_ref().map(|token| token.expose_secret().trim())
    }

    /// Whether the places that are named can be used.
    pub(crate) fn check_places(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.storage.data.is_absolute(),
            "storage.data must be a whole path, it is `{}`",
            self.storage.data.display()
        );
        anyhow::ensure!(
            self.status.socket.as_os_str().len() <= LONGEST_SOCKET,
            "status.socket is longer than the {LONGEST_SOCKET} characters that a socket's path may have"
        );
        Ok(())
    }

    /// Whether the install token is one at all.
    pub(crate) fn check_token(&self) -> anyhow::Result<()> {
        let Some(token) = self.install_token() else { return Ok(()) };
        for (sound, why) in [
            (token.starts_with(INSTALL_TOKEN_PREFIX), "it begins with nit_"),
            (token.len() >= INSTALL_TOKEN_LENGTH, "it is longer than this one; is a part missing?"),
            (token.chars().all(|c| c.is_ascii_graphic()), "it holds no blanks"),
        ] {
            anyhow::ensure!(sound, "control_plane.install_token does not look like an install token: {why}");
        }
        Ok(())
    }

    pub(crate) fn topics(&self) -> anyhow::Result<Topics> {
        Topics::new(&self.link.prefix).with_context(|| {
            format!("link.prefix `{}` must start with / and hold no wildcard", self.link.prefix)
        })
    }

    pub(crate) fn roots_pem(&self) -> anyhow::Result<String> {
        let path = &self.control_plane.roots;
        fs::read_to_string(path).with_context(|| format!("cannot read the trust roots {}", path.display()))
    }

    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_secs(self.control_plane.deadline_s)
    }
}

#[cfg(test)]
mod tests;
