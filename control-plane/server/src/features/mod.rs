//! The list of features. A new feature is named here, in the list of its area, and nowhere else.

mod audit;
mod service;
mod work;

pub use service::Service;

use noderr_fleet::{Fleet, attestation, enrolment, install_tokens, nodes, quarantine, reports};
use noderr_kernel::{
    BaseSettings, Configuration, DatabaseSettings, Declared, Feature, HttpSettings, Kernel, SettingsSection,
};
use noderr_people::{People, operators, second_factor, sessions, tokens};
use noderr_supply::{Supply, channels, releases};
use std::path::Path;
use std::sync::Arc;

/// Features that stand on nothing but the kernel.
pub const KERNEL: &[Feature<Arc<Kernel>>] = &[audit::FEATURE, work::FEATURE];

/// Features of people.
pub const PEOPLE: &[Feature<Arc<People>>] =
    &[sessions::FEATURE, second_factor::FEATURE, tokens::FEATURE, operators::FEATURE];

/// Features of nodes.
pub const FLEET: &[Feature<Arc<Fleet>>] = &[
    nodes::FEATURE,
    install_tokens::FEATURE,
    enrolment::FEATURE,
    attestation::FEATURE,
    quarantine::FEATURE,
    reports::FEATURE,
];

/// Features of what boxes are given.
pub const SUPPLY: &[Feature<Arc<Supply>>] = &[releases::FEATURE, channels::FEATURE];

/// Features that any service has.
pub const SERVICE: &[Feature<Arc<Service>>] = &[service::FEATURE];

/// Everything that all features declare.
pub fn declared() -> Declared {
    Declared::default().with(KERNEL).with(PEOPLE).with(FLEET).with(SUPPLY).with(SERVICE)
}

/// Every section of the configuration.
pub fn sections() -> Vec<SettingsSection> {
    let mut sections = vec![SettingsSection::of::<HttpSettings>(), SettingsSection::of::<DatabaseSettings>()];
    sections.extend(declared().sections);
    sections
}

/// Reads the configuration: the file, if there is one, and the environment.
pub fn load_configuration(path: Option<&Path>) -> anyhow::Result<Configuration> {
    Configuration::load(path, &sections())
}

/// The example configuration: every setting with its default and its meaning.
pub fn example_configuration() -> String {
    let head = "# Configuration of noderr-control. Every value below is the default; copy what you change. Without --config just these\n\
                # hold. The environment overrides the file: http.listen is NODERR_HTTP_LISTEN; lists are written as here.\n\
                # DATABASE_URL is read too, as database.url.\n";
    let parts =
        std::iter::once(BaseSettings::EXAMPLE).chain(sections().into_iter().map(|section| section.example));
    parts.fold(head.to_owned(), |text, part| format!("{text}\n{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Configuration> {
        Configuration::parse(text, std::iter::empty(), &sections())
    }

    #[test]
    fn the_example_is_what_the_program_says_it_is_and_shows_the_defaults() {
        assert_eq!(include_str!("../../control.example.toml"), example_configuration());
        let shown = |text: &str| {
            let configuration = parse(text).unwrap();
            let fleet = noderr_fleet::FleetSettings::read(&configuration).unwrap();
            let http: HttpSettings = configuration.section().unwrap();
            let database: DatabaseSettings = configuration.section().unwrap();
            format!("{:?} {fleet:?} {http:?} {database:?}", configuration.base())
        };
        assert_eq!(shown(&example_configuration()), shown(""));
    }

    /// The fields of a section, as serde names them in its error about an unknown field.
    fn fields_of(section: &str) -> Vec<String> {
        let error = parse(&format!("[{section}]\nzzz = 1")).unwrap_err();
        let error = format!("{error:#}");
        let expected = error.split_once("expected").unwrap().1.lines().next().unwrap_or_default();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_example_documents_every_field() {
        // The example must still be a configuration with every commented setting switched on.
        let switched_on: String = example_configuration()
            .lines()
            .map(|line| {
                let setting = line.strip_prefix("# ").filter(|rest| {
                    let word = rest.split([' ', ']']).next().unwrap_or_default();
                    rest.starts_with('[') || rest[word.len()..].starts_with(" = ")
                });
                format!("{}\n", setting.unwrap_or(line))
            })
            .collect();
        parse(&switched_on).unwrap();
        let table: toml::Table = toml::from_str(&switched_on).unwrap();
        let mut names: Vec<String> = sections().iter().map(|section| section.name.to_owned()).collect();
        names.extend(["broker.external".to_owned(), "authority.pkcs11".to_owned()]);
        for name in names {
            let mut shown = &table;
            for part in name.split('.') {
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
    fn mistakes_are_named() {
        for (text, named) in [
            ("[http]\nlisten = \"nowhere\"", "listen"),
            ("[htp]\n", "htp"),
            ("[http]\npublic_url = \"http://x\"", "public_url"),
            ("[broker]\npublic_address = \"localhost\"", "public_address"),
            ("[broker]\nprefix = \"a/#\"", "prefix"),
            ("[enrolment]\nallowed_eks = [\"zz\"]", "allowed_eks"),
            ("[telemetry]\nworkers = 0", "workers"),
            ("[telemetry]\nbatch = 0", "batch"),
            ("[enrolment]\nek_policy = \"sometimes\"", "sometimes"),
            ("[enrolment]\nek_policy = \"require-ek-cert\"", "vendor_roots"),
            ("[authority]\nrenew_leaves_days = 2\ncertificate_days = 2", "certificate_days"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_database_password_is_never_printed() {
        let database: DatabaseSettings =
            parse("[database]\nurl = \"postgres://u:sesame@h/d\"").unwrap().section().unwrap();
        assert!(!format!("{database:?}").contains("sesame"));
    }

    #[test]
    fn names_are_given_once() {
        let Declared { permissions, problems, sections, metrics } = declared();
        let names = [
            permissions.iter().map(|permission| permission.name).collect::<Vec<_>>(),
            problems.iter().map(|kind| kind.name).collect(),
            sections.iter().map(|section| section.name).collect(),
            metrics.iter().map(|(name, _)| *name).collect(),
        ];
        for mut names in names {
            names.sort_unstable();
            let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
            assert!(twice.is_empty(), "{twice:?}");
        }
    }
}
