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
            override_field(&mut table, &["database".to_owned(), "url".to_owned()], &url)?;
        }
        for (name, value) in variables {
            if let Some(path) = field_path(&name) {
                override_field(&mut table, &path, &value).context(name)?;
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
        anyhow::ensure!(
            self.http.public_url.starts_with("https://"),
            "http.public_url `{}` must begin with https://: nodes speak nothing else",
            self.http.public_url
        );
        self.broker.check()?;
        self.telemetry.check()?;
        self.authority.check()?;
        self.enrolment.check()
    }
}

const TOPICS: [&str; 6] = ["http", "broker", "database", "authority", "enrolment", "telemetry"];

/// `NODERR_HTTP_LISTEN` → `http.listen`. Variables that begin with no topic (such as NODERR_LOG) are others'.
fn field_path(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix("NODERR_")?.to_ascii_lowercase();
    if rest == "network" || rest == "data" {
        return Some(vec![rest]);
    }
    let (topic, field) = rest.split_once('_')?;
    TOPICS.contains(&topic).then(|| vec![topic.to_owned(), field.to_owned()])
}

/// Whether the field exists and the value fits is seen when the whole is read.
fn override_field(table: &mut toml::Table, path: &[String], value: &str) -> anyhow::Result<()> {
    use toml::Value;
    // Numbers, booleans, lists and tables as TOML has them; everything else is text.
    let parsed = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(mut table) => table.remove("value").filter(|value| !matches!(value, Value::Datetime(_))),
        Err(_) => None,
    };
    let parsed = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    match path {
        [topic, field] => {
            let entry = table.entry(topic.clone()).or_insert_with(|| toml::Table::new().into());
            let topic = entry.as_table_mut().with_context(|| format!("`{topic}` is not a table"))?;
            topic.insert(field.clone(), parsed);
        }
        path => drop(table.insert(path.concat(), parsed)),
    }
    Ok(())
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

    /// What serde knows a table to hold: it says so when it meets something else.
    fn fields_of(table: &str) -> Vec<String> {
        let topic = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = toml::from_str::<Config>(&format!("{topic}zzz = 1")).unwrap_err().to_string();
        let expected = error.split_once("expected").unwrap().1;
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_example_documents_every_field() {
        // With every commented setting switched on it must still be a configuration.
        let switched_on: String = include_str!("../../control.example.toml")
            .lines()
            .map(|line| {
                let setting = line.strip_prefix("# ").filter(|rest| {
                    let word = rest.split([' ', ']']).next().unwrap_or_default();
                    rest.starts_with('[') || rest[word.len()..].starts_with(" = ")
                });
                format!("{}\n", setting.unwrap_or(line))
            })
            .collect();
        let table: toml::Table = toml::from_str(&switched_on).unwrap();
        table.clone().try_into::<Config>().unwrap();
        let mut tables = vec![String::new(), "broker.external".to_owned(), "authority.pkcs11".to_owned()];
        tables.extend(TOPICS.map(str::to_owned));
        for name in tables {
            let mut shown = &table;
            for part in name.split('.').filter(|part| !part.is_empty()) {
                shown = shown[part].as_table().unwrap();
            }
            let fields = fields_of(&name);
            assert!(fields.len() > 1, "{name}: {fields:?}");
            for field in fields {
                assert!(shown.contains_key(&field), "`{field}` of [{name}] is not in the example");
            }
        }
    }

    #[test]
    fn a_variable_of_a_topic_must_be_a_field_and_fit() {
        for (name, value) in [("NODERR_TELEMETRY_WORKERS", "banana"), ("NODERR_TELEMETRY_WORKER", "2")] {
            let error = format!("{:#}", parse("", &[(name, value)]).unwrap_err());
            assert!(error.to_lowercase().contains(value) || error.contains("worker"), "{error}");
        }
        let names = parse("", &[("NODERR_HTTP_NAMES", r#"["a.example", "b.example"]"#)]).unwrap().http.names;
        assert_eq!(names, ["a.example", "b.example"]);
        assert_eq!(parse("", &[("NODERR_TELEMETRY_BATCH", "7")]).unwrap().telemetry.batch, 7);
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
            ("[http]\npublic_url = \"http://x\"", "public_url"),
            ("[broker]\npublic_address = \"localhost\"", "public_address"),
            ("[enrolment]\nallowed_eks = [\"zz\"]", "allowed_eks"),
            ("[telemetry]\nworkers = 0", "workers"),
            ("[telemetry]\nbatch = 0", "batch"),
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
