//! The control plane's configuration: one TOML, overridden by environment variables, by topic.
//!
//! A variable is the field's path in capitals: `http.listen` is `NODERR_HTTP_LISTEN`. Secrets have a type that
//! cannot be printed.

mod authority;
mod broker;
mod database;
mod enrolment;
mod http;
mod telemetry;

pub(crate) use authority::Authority;
pub(crate) use broker::Broker;
pub(crate) use database::Database;
pub(crate) use enrolment::{EkPolicy, Enrolment};
pub(crate) use http::Http;
pub(crate) use telemetry::Telemetry;

use anyhow::Context as _;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The network's name, as its certificates show it.
    pub(crate) network: String,
    /// Where the control plane keeps what it makes itself: keys, a private database.
    pub(crate) data: PathBuf,
    pub(crate) http: Http,
    pub(crate) broker: Broker,
    pub(crate) database: Database,
    pub(crate) authority: Authority,
    pub(crate) enrolment: Enrolment,
    pub(crate) telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: "noderr".to_owned(),
            data: "/var/lib/noderr-control".into(),
            http: Http::default(),
            broker: Broker::default(),
            database: Database::default(),
            authority: Authority::default(),
            enrolment: Enrolment::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Config {
    /// Reads the file, if there is one, and the environment.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let text = match path {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration {}", path.display()))?,
            None => String::new(),
        };
        let variables = std::env::vars().filter(|(name, _)| name.starts_with("NODERR_"));
        Self::parse(&text, variables).with_context(|| match path {
            Some(path) => format!("the configuration {} is wrong", path.display()),
            None => "the configuration in the environment is wrong".to_owned(),
        })
    }

    fn parse(text: &str, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let mut table: toml::Table = toml::from_str(text)?;
        if let Ok(url) = std::env::var("DATABASE_URL") {
            override_field(&mut table, "DATABASE_URL", &["database", "url"], &url);
        }
        for (name, value) in variables {
            if let Some(path) = field_path(&name) {
                override_field(&mut table, &name, &path, &value);
            }
        }
        let config: Self = table.try_into()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.broker.topics()?;
        anyhow::ensure!(
            !self.http.names.is_empty(),
            "http.names must name at least one host name or address"
        );
        self.authority.check()?;
        self.enrolment.check()
    }
}

const TOPICS: [&str; 6] = ["http", "broker", "database", "authority", "enrolment", "telemetry"];

/// `NODERR_HTTP_LISTEN` → `http.listen`. Variables that are no field's (such as NODERR_LOG) are left alone.
fn field_path(name: &str) -> Option<Vec<&'static str>> {
    let rest = name.strip_prefix("NODERR_")?.to_ascii_lowercase();
    if rest == "network" || rest == "data" {
        return Some(vec![if rest == "data" { "data" } else { "network" }]);
    }
    let topic = TOPICS.into_iter().find(|topic| rest.starts_with(&format!("{topic}_")))?;
    let field = FIELDS.iter().find(|(of, field)| *of == topic && rest == format!("{of}_{field}"))?.1;
    Some(vec![topic, field])
}

/// Fields that may come from the environment; the external broker's table and lists are for the file.
const FIELDS: &[(&str, &str)] = &[
    ("http", "listen"),
    ("http", "public_url"),
    ("broker", "listen"),
    ("broker", "public_address"),
    ("broker", "prefix"),
    ("broker", "node_packets_per_s"),
    ("broker", "node_kib_per_s"),
    ("broker", "node_burst_mib"),
    ("database", "url"),
    ("database", "api_url"),
    ("database", "binaries"),
    ("database", "connections"),
    ("authority", "folder"),
    ("enrolment", "ek_policy"),
    ("enrolment", "vendor_roots"),
    ("enrolment", "allow_software"),
    ("telemetry", "retention_days"),
    ("telemetry", "alert_retention_days"),
];

fn override_field(table: &mut toml::Table, name: &str, path: &[&str], value: &str) {
    // Numbers and booleans as TOML has them; everything else is text.
    let parsed = match value.parse::<toml::Value>() {
        Ok(value @ (toml::Value::Integer(_) | toml::Value::Boolean(_))) => value,
        _ => toml::Value::String(value.to_owned()),
    };
    match path {
        [field] => drop(table.insert((*field).to_owned(), parsed)),
        [topic, field] => {
            let entry = table.entry((*topic).to_owned()).or_insert_with(|| toml::Table::new().into());
            match entry.as_table_mut() {
                Some(topic) => drop(topic.insert((*field).to_owned(), parsed)),
                None => tracing::warn!(name, "a variable overrides a field whose topic is not a table"),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::parse(text, variables.into_iter())
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let example = include_str!("../../control.example.toml");
        assert_eq!(format!("{:?}", parse(example, &[]).unwrap()), format!("{:?}", parse("", &[]).unwrap()));
    }

    #[test]
    fn the_example_documents_every_field() {
        let example = include_str!("../../control.example.toml");
        for (topic, field) in FIELDS {
            assert!(
                example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{field} ="))),
                "{topic}.{field}"
            );
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = parse(
            "[telemetry]\nretention_days = 3\n",
            &[("NODERR_TELEMETRY_RETENTION_DAYS", "7"), ("NODERR_LOG", "x")],
        );
        assert_eq!(config.unwrap().telemetry.retention_days, 7);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("[http]\nlisten = \"nowhere\"", "listen"),
            ("[htp]\n", "htp"),
            ("[enrolment]\nek_policy = \"sometimes\"", "sometimes"),
            ("[enrolment]\nek_policy = \"require-ek-cert\"", "vendor_roots"),
            ("[authority]\nrenew_leaves_days = 2\ncertificate_days = 2", "certificate_days"),
        ] {
            let error = format!("{:#}", parse(text, &[]).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_database_password_is_never_printed() {
        let config = parse("[database]\nurl = \"postgres://u:sesame@h/d\"", &[]).unwrap();
        assert!(!format!("{config:?}").contains("sesame"));
    }
}
