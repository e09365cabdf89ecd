//! The example, and mistakes in a configuration.

use super::*;

const EXAMPLE: &str = include_str!("../../node.example.toml");
const MINIMAL: &str = "[control_plane]\nurl = \"https://c:8443\"\nroots = \"/etc/noderr/roots.pem\"\n";

#[test]
fn the_example_equals_the_defaults() {
    let minimal = Config::parse(&format!("{MINIMAL}install_token = \"nit_paste-yours-here\"")).unwrap();
    let minimal = format!("{minimal:#?}").replace("https://c:8443", "https://control.example.org:8443");
    assert_eq!(format!("{:#?}", Config::parse(EXAMPLE).unwrap()), minimal);
}

#[test]
fn the_example_documents_every_setting() {
    // The example is still a configuration with every commented setting switched on.
    let switched_on: String = EXAMPLE
        .lines()
        .map(|line| {
            let setting = line.strip_prefix("# ").filter(|rest| {
                let word = rest.split(' ').next().unwrap_or_default();
                rest[word.len()..].starts_with(" = ")
            });
            format!("{}\n", setting.unwrap_or(line))
        })
        .collect();
    Config::parse(&switched_on).unwrap();
    let shown: toml::Table = toml::from_str(&switched_on).unwrap();
    for section in ["control_plane", "identity", "storage", "telemetry", "link", "releases", "status"] {
        for field in fields_of(section) {
            assert!(shown[section].as_table().unwrap().contains_key(&field), "`{field}` of [{section}]");
        }
    }
}

/// The settings of a section, as serde names them in its error about one that it does not know.
fn fields_of(section: &str) -> Vec<String> {
    let text = format!("{}[{section}]\nzzz = 1", if section == "control_plane" { "" } else { MINIMAL });
    let error = format!("{:#}", Config::parse(&text).unwrap_err());
    let expected = error.split_once("expected").unwrap().1.lines().next().unwrap_or_default();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn mistakes_are_named() {
    let wrong = [
        ("[telemetry]\nsample_evry_s = 3", "sample_evry_s"),
        ("[telemetry]\nsample_every_s = 0", "sample_every_s"),
        ("[link]\nprefix = \"a/#\"", "prefix"),
        ("[identity]\nkeys = \"hsm\"", "hsm"),
        ("[link]\nbroker = \"localhost\"", "link.broker"),
    ];
    for (text, named) in wrong {
        let error = format!("{:#}", Config::parse(&format!("{MINIMAL}{text}")).unwrap_err());
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn the_install_token_is_never_printed() {
    let config = Config::parse(&format!("{MINIMAL}install_token = \"sesame\"\n")).unwrap();
    assert!(!format!("{config:?}").contains("sesame"));
}
