//! What may differ between control planes, and the configuration that says it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What may differ between control planes.
#[derive(Debug, Clone, Default)]
pub struct ControlOptions {
    /// Ports for the API and the broker; any free ports if absent.
    pub ports: Option<(u16, u16)>,
    /// Folder of TPM vendors' certificates; if set, enrolment demands an endorsement certificate.
    pub vendor_roots: Option<PathBuf>,
    /// Where nodes are told that the broker is, where that is not the control plane's own.
    pub broker: Option<SocketAddr>,
    /// More TOML, by section: `[("enrolment", "allow_software = true")]`.
    pub settings: Vec<(String, String)>,
    /// More environment variables.
    pub environment: Vec<(String, String)>,
    /// The URL of a PostgreSQL to use in place of a private one.
    pub database_url: Option<String>,
    /// The folder of an authority that another control plane has made.
    pub authority: Option<PathBuf>,
}

impl ControlOptions {
    /// Adds a line to a section.
    #[must_use]
    pub fn with(mut self, topic: &str, line: impl Into<String>) -> Self {
        self.settings.push((topic.to_owned(), line.into()));
        self
    }
}

/// The text of the configuration.
pub(super) fn configuration(
    folder: &Path,
    api: SocketAddr,
    broker: SocketAddr,
    options: &ControlOptions,
) -> anyhow::Result<String> {
    let mut topics: Vec<(&str, String)> = vec![
        ("http", format!("listen = \"{api}\"\npublic_url = \"https://localhost:{}\"", api.port())),
        (
            "broker",
            format!(
                "listen = \"{broker}\"\npublic_address = \"localhost:{}\"",
                options.broker.unwrap_or(broker).port()
            ),
        ),
        ("enrolment", String::new()),
        ("database", String::new()),
        ("authority", String::new()),
        ("telemetry", String::new()),
        ("releases", String::new()),
    ];
    let mut add = |topic: &str, line: &str| {
        if let Some((_, lines)) = topics.iter_mut().find(|(name, _)| *name == topic) {
            lines.push('\n');
            lines.push_str(line);
        } else {
            unreachable!("no topic {topic}");
        }
    };
    if let Some(roots) = &options.vendor_roots {
        add("enrolment", &format!("ek_policy = \"require-ek-cert\"\nvendor_roots = \"{}\"", roots.display()));
    }
    if let Some(url) = &options.database_url {
        add("database", &format!("url = \"{url}\""));
    }
    if let Some(authority) = &options.authority {
        add("authority", &format!("folder = \"{}\"", authority.display()));
    }
    for (topic, line) in &options.settings {
        add(topic, line);
    }
    let mut text = format!("network = \"demo\"\ndata = \"{}\"\n", folder.display());
    for (topic, lines) in topics {
        write!(text, "\n[{topic}]{}{lines}\n", if lines.starts_with('\n') { "" } else { "\n" })?;
    }
    Ok(text)
}
