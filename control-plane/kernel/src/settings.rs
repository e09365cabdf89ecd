//! The configuration: one TOML file, overridden by environment variables, read section by section.
//!
//! Each section is a type that implements [`Settings`]. A variable is the field's path in capitals:
//! `http.listen` is `NODERR_HTTP_LISTEN`. Secrets have a type that cannot be printed and may be read from a
//! file.

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A section of the configuration, as a type.
pub trait Settings: DeserializeOwned + fmt::Debug + Default + 'static {
    /// The section's name.
    const SECTION: &'static str;
    /// The section as the example shows it: every field with its default and its meaning.
    const EXAMPLE: &'static str;

    /// Refuses settings that cannot work, naming the field.
    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A section of the configuration, without its type.
#[derive(Clone, Copy)]
pub struct SettingsSection {
    /// The name of the section.
    pub name: &'static str,
    /// The section as the example shows it.
    pub example: &'static str,
    read: fn(&Table) -> anyhow::Result<String>,
}

impl SettingsSection {
    /// The section of these settings.
    pub const fn of<T: Settings>() -> Self {
        let read = |table: &Table| Ok(format!("{:?}", read_section::<T>(table)?));
        Self { name: T::SECTION, example: T::EXAMPLE, read }
    }
}

/// The settings that belong to no section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaseSettings {
    /// The network's name, as its certificates show it.
    pub network: String,
    /// The data folder: keys and the private database.
    pub data: PathBuf,
}

impl BaseSettings {
    /// The settings as the example shows them.
    pub const EXAMPLE: &'static str = include_str!("settings.example.toml");
}

impl Default for BaseSettings {
    fn default() -> Self {
        Self { network: "noderr".to_owned(), data: "/var/lib/noderr-control".into() }
    }
}

/// The whole configuration, read and checked.
#[derive(Debug, Clone)]
pub struct Configuration {
    base: BaseSettings,
    table: Table,
}

impl Configuration {
    /// Reads the file, if there is one, and the environment. Refuses a section that is not in `sections`.
    pub fn load(path: Option<&Path>, sections: &[SettingsSection]) -> anyhow::Result<Self> {
        let text = match path {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration {}", path.display()))?,
            None => String::new(),
        };
        Self::parse(&text, std::env::vars(), sections).with_context(|| match path {
            Some(path) => format!("the configuration {} is wrong", path.display()),
            None => "the configuration in the environment is wrong".to_owned(),
        })
    }

    /// Reads the configuration from a text and from variables.
    pub fn parse(
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
        sections: &[SettingsSection],
    ) -> anyhow::Result<Self> {
        let mut table: Table = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
        for (name, value) in variables {
            if let Some(path) = field_path(&name, sections) {
                override_field(&mut table, &path, &value).context(name)?;
            }
        }
        let is_section = |name: &str| sections.iter().any(|section| section.name == name);
        let base: Table =
            table.iter().filter(|(name, _)| !is_section(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if let Some((name, _)) = base.iter().find(|(_, value)| value.is_table()) {
            let known: Vec<_> = sections.iter().map(|section| section.name).collect();
            anyhow::bail!("there is no section [{name}]; there are: {}", known.join(", "));
        }
        let base = base.try_into()?;
        for section in sections {
            (section.read)(&table)?;
        }
        Ok(Self { base, table })
    }

    /// The settings that belong to no section.
    pub const fn base(&self) -> &BaseSettings {
        &self.base
    }

    /// A section; its defaults where the configuration does not name it.
    pub fn section<T: Settings>(&self) -> anyhow::Result<T> {
        read_section(&self.table)
    }

    /// A section whose absence means that the feature is off.
    pub fn find<T: Settings>(&self) -> anyhow::Result<Option<T>> {
        self.table.contains_key(T::SECTION).then(|| self.section()).transpose()
    }
}

/// Where a file is no TOML, and why. Not the line itself, as the library would: there may be a secret in it.
fn unreadable(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    anyhow::anyhow!("line {line}: {}", error.message())
}

fn read_section<T: Settings>(table: &Table) -> anyhow::Result<T> {
    let section = table.get(T::SECTION).cloned().unwrap_or_else(|| Table::new().into());
    let settings: T = section.try_into().with_context(|| format!("in [{}]", T::SECTION))?;
    settings.check()?;
    Ok(settings)
}

/// The field that a variable overrides: `NODERR_HTTP_LISTEN` → `http.listen`. `None` for a variable whose
/// name begins with no section, such as NODERR_LOG.
fn field_path(name: &str, sections: &[SettingsSection]) -> Option<Vec<String>> {
    // The name by which every hosting service hands a database on.
    if name == "DATABASE_URL" {
        return Some(vec!["database".to_owned(), "url".to_owned()]);
    }
    let rest = name.strip_prefix("NODERR_")?.to_ascii_lowercase();
    if rest == "network" || rest == "data" {
        return Some(vec![rest]);
    }
    let (section, field) = rest.split_once('_')?;
    sections.iter().any(|known| known.name == section).then(|| vec![section.to_owned(), field.to_owned()])
}

/// Overrides a field. An unknown field or a value that does not fit is noticed when the section is read.
fn override_field(table: &mut Table, path: &[String], value: &str) -> anyhow::Result<()> {
    // Numbers, booleans, lists and tables as TOML has them; everything else is text.
    let parsed = match toml::from_str::<Table>(&format!("value = {value}")) {
        Ok(mut table) => table.remove("value").filter(|value| !matches!(value, Value::Datetime(_))),
        Err(_) => None,
    };
    let parsed = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    match path {
        [section, field] => {
            let entry = table.entry(section.clone()).or_insert_with(|| Table::new().into());
            let section = entry.as_table_mut().with_context(|| format!("`{section}` is not a table"))?;
            section.insert(field.clone(), parsed);
        }
        path => {
            table.insert(path.join("."), parsed);
        }
    }
    Ok(())
}

/// A secret: written into the configuration as text, or as `{ file = "/path" }`, which takes the first line
/// of that file.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Reads a secret from the first line of a file.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the secret in {}", path.display()))?;
        let line = text.lines().next().unwrap_or_default().trim();
        ensure!(!line.is_empty(), "the file {} holds no secret", path.display());
        Ok(Self(line.to_owned().into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text, or { file = \"/path\" }")]
        enum Written {
            Text(SecretString),
            File { file: PathBuf },
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text)),
            Written::File { file } => {
                Self::of_file(&file).map_err(|error| D::Error::custom(format!("{error:#}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Mail {
        host: String,
        port: u16,
        password: Option<Secret>,
    }

    impl Settings for Mail {
        const SECTION: &'static str = "mail";
        const EXAMPLE: &'static str = "[mail]\nhost = \"\"\nport = 0\n";

        fn check(&self) -> anyhow::Result<()> {
            ensure!(self.port != 1, "mail.port must not be 1");
            Ok(())
        }
    }

    fn parse(text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Configuration> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Configuration::parse(text, variables, &[SettingsSection::of::<Mail>()])
    }

    #[test]
    fn a_section_that_is_absent_is_off_and_has_defaults() {
        let nothing = parse("", &[]).unwrap();
        assert!(nothing.find::<Mail>().unwrap().is_none());
        assert_eq!(nothing.section::<Mail>().unwrap().port, 0);
        assert_eq!(
            parse("[mail]\nport = 7", &[]).unwrap().find::<Mail>().unwrap().map(|mail| mail.port),
            Some(7)
        );
    }

    #[test]
    fn the_environment_overrides_the_file_and_what_it_names_must_exist_and_fit() {
        let config = parse("[mail]\nport = 3\n", &[("NODERR_MAIL_PORT", "7"), ("NODERR_LOG", "x")]).unwrap();
        assert_eq!(config.section::<Mail>().unwrap().port, 7);
        for (name, value) in
            [("NODERR_MAIL_PORT", "banana"), ("NODERR_MAIL_PRT", "2"), ("NODERR_MAIL_PORT", "1")]
        {
            assert!(parse("", &[(name, value)]).is_err(), "{name}={value}");
        }
        assert_eq!(parse("", &[("NODERR_DATA", "/d")]).unwrap().base().data, Path::new("/d"));
        assert_eq!(
            field_path("DATABASE_URL", &[]),
            Some(vec!["database".to_owned(), "url".to_owned()]),
            "as the example says"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("[mial]\n", "mial"),
            ("netwrk = \"x\"", "netwrk"),
            ("[mail]\nprt = 1", "prt"),
            ("mail = 3", "mail"),
        ] {
            let error = format!("{:#}", parse(text, &[]).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_by_line_and_without_the_line() {
        let text = "network = \"n\"\n\n[mail]\npassword = \"se\"sesame\"\n";
        let error = format!("{:?}", parse(text, &[]).unwrap_err());
        assert!(error.contains("line 4") && !error.contains("sesame"), "{error}");
    }

    #[test]
    fn a_secret_comes_from_the_text_or_a_file_and_is_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "sesame\nmore\n").unwrap();
        for text in
            ["password = \"sesame\"".to_owned(), format!("password = {{ file = \"{}\" }}", file.display())]
        {
            let mail: Mail = parse(&format!("[mail]\n{text}"), &[]).unwrap().section().unwrap();
            assert!(!format!("{mail:?}").contains("sesame"));
            assert_eq!(mail.password.unwrap().expose(), "sesame");
        }
        let error = parse("[mail]\npassword = { file = \"/nowhere\" }", &[]).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
    }
}
