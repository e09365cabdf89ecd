//! Tidy: dependencies run one way, files say what they own, links in documents lead somewhere, no file grows
//! too large.

mod circles;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_default()
}

fn metadata() -> anyhow::Result<Metadata> {
    Ok(MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?)
}

/// Files that are committed or about to be.
fn files(endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git ls-files")?;
    let listed = String::from_utf8(listed.stdout)?;
    let wanted = |path: &&str| endings.iter().any(|ending| path.ends_with(ending));
    Ok(listed.lines().filter(wanted).map(|path| root().join(path)).filter(|path| path.exists()).collect())
}

/// The crates of this workspace that each crate may use, by folder, as the table of the architecture says; of the folder that
/// may see everything, nothing.
fn arrows() -> anyhow::Result<BTreeMap<String, Option<BTreeSet<String>>>> {
    let page = fs::read_to_string(root().join("docs/architecture.md"))?;
    let table =
        page.split("## The tree").nth(1).context("a table")?.split("\n\n").nth(1).context("a table")?;
    let row = |line: &str| {
        let (folder, rest) = line.strip_prefix("| [")?.split_once(']')?;
        let may_use = rest.strip_suffix(" |")?.rsplit(" | ").next()?;
        let named = |names: &str| names.split(", ").map(|name| format!("noderr-{name}")).collect();
        Some((
            folder.to_owned(),
            match may_use {
                "everything" => None,
                "nothing" => Some(BTreeSet::new()),
                names => Some(named(names)),
            },
        ))
    };
    Ok(table.lines().filter_map(row).collect())
}

#[test]
fn dependencies_run_one_way() -> anyhow::Result<()> {
    let (arrows, metadata) = (arrows()?, metadata()?);
    for package in metadata.packages {
        let folder = package.manifest_path.parent().context("a folder")?.as_std_path();
        let folder = folder.strip_prefix(root())?.to_string_lossy().into_owned();
        let may_use =
            arrows.get(&folder).with_context(|| format!("{folder} is not in the table of the tree"))?;
        let Some(may_use) = may_use else { continue };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            assert!(
                may_use.contains(&dependency.name),
                "{folder} must not depend on {} ({:?})",
                dependency.name,
                dependency.kind
            );
        }
    }
    Ok(())
}

/// Crates whose files use one another in one direction only.
const WITHOUT_CIRCLES: &[&str] = &[
    "control-plane/attestation",
    "control-plane/broker",
    "control-plane/ca",
    "control-plane/cli",
    "control-plane/front",
    "control-plane/fleet",
    "control-plane/hsm",
    "control-plane/kernel",
    "control-plane/objects",
    "control-plane/people",
    "control-plane/releases",
    "control-plane/server",
    "control-plane/supply",
    "edge/identity",
    "edge/link",
    "edge/node",
    "edge/part",
    "edge/spool",
    "edge/tpm",
    "edge/update",
    "hil-tests",
    "protocol",
    "protocol/archive",
];

#[test]
fn no_files_use_each_other_in_a_circle() -> anyhow::Result<()> {
    for folder in WITHOUT_CIRCLES {
        let circle = circles::House::read(&root().join(folder).join("src"))?.circle();
        assert_eq!(circle, None, "in {folder}");
    }
    Ok(())
}

#[test]
fn the_protocol_knows_no_socket_and_no_disk() -> anyhow::Result<()> {
    let metadata = metadata()?;
    let protocol = metadata.packages.iter().find(|package| package.name.as_str() == "noderr-protocol");
    for dependency in &protocol.context("no protocol")?.dependencies {
        let runtime = ["tokio", "rustls", "hyper", "sled", "sqlx", "mio"].contains(&dependency.name.as_str());
        assert!(
            !runtime || dependency.kind == DependencyKind::Development,
            "protocol uses {}",
            dependency.name
        );
    }
    Ok(())
}

#[test]
fn versions_and_lints_are_declared_once() -> anyhow::Result<()> {
    for path in files(&["Cargo.toml"])? {
        if path == root().join("Cargo.toml") || path.ends_with("fuzz/Cargo.toml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            path.display()
        );
        for line in text.lines() {
            let names_a_version = line.contains(" = \"")
                && line.split_once('=').is_some_and(|(_, value)| {
                    value.trim().trim_matches('"').starts_with(|first: char| first.is_ascii_digit())
                });
            assert!(!names_a_version, "{}: `{line}` belongs in the root Cargo.toml", path.display());
        }
    }
    Ok(())
}

#[test]
fn every_source_file_says_what_it_owns() -> anyhow::Result<()> {
    for path in files(&[".rs"])? {
        let text = fs::read_to_string(&path)?;
        assert!(text.starts_with("//! "), "{} does not begin with `//! ` and what it owns", path.display());
    }
    Ok(())
}

#[test]
fn no_file_grows_beyond_what_one_can_hold_in_mind() -> anyhow::Result<()> {
    for path in files(&[".rs"])? {
        let lines = fs::read_to_string(&path)?.lines().count();
        assert!(lines <= 350, "{} has {lines} lines; split it by what it does", path.display());
    }
    Ok(())
}

/// A database in the field has run them: a migration is added, and never changed.
#[test]
fn migrations_are_what_they_always_were() -> anyhow::Result<()> {
    let folder = root().join("control-plane/migrations");
    let pinned = fs::read_to_string(folder.join("SHA256SUMS"))?;
    let mut sums = BTreeMap::new();
    for file in fs::read_dir(&folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == "sql") {
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            sums.insert(name, hex::encode(Sha256::digest(fs::read(&path)?)));
        }
    }
    let now: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    assert_eq!(now, pinned, "add a migration with its line in SHA256SUMS; change none");
    Ok(())
}

/// Counters, gauges and histograms, against the lists of names with their help.
#[test]
fn every_metric_that_is_counted_is_declared_with_its_help() -> anyhow::Result<()> {
    let (mut counted, mut declared) = (BTreeSet::new(), BTreeSet::new());
    for file in files(&["rs"])? {
        let text = fs::read_to_string(&file)?;
        for (before, after) in text.match_indices("\"noderr_").map(|(at, _)| text.split_at(at)) {
            let name = after[1..].split('"').next().unwrap_or_default().to_owned();
            let before = before.trim_end();
            if ["counter!(", "gauge!(", "histogram!("].iter().any(|counts| before.ends_with(counts)) {
                counted.insert(name);
            } else if before.ends_with('(') {
                declared.insert(name);
            }
        }
    }
    assert!(counted.len() > 10, "{counted:?}");
    assert_eq!(counted.difference(&declared).collect::<Vec<_>>(), Vec::<&String>::new());
    Ok(())
}

#[test]
fn links_in_documents_lead_somewhere() -> anyhow::Result<()> {
    let mut links = 0;
    for path in files(&[".md"])? {
        let text = fs::read_to_string(&path)?;
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") {
                continue;
            }
            let here = path.parent().context("a file has a folder")?;
            assert!(here.join(file).exists(), "{} links to {target}, which does not exist", path.display());
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were found; is this test still looking?");
    Ok(())
}

#[test]
fn nothing_is_left_for_later_in_the_code() -> anyhow::Result<()> {
    // The words are spelled in two parts, so that this file does not find itself.
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X"];
    for path in files(&[".rs", ".sh", ".sql", ".toml", "dev"])? {
        let text = fs::read_to_string(&path)?;
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} holds a {word}", path.display());
        }
    }
    Ok(())
}

#[test]
fn the_guides_show_commands_that_exist() -> anyhow::Result<()> {
    let script = fs::read_to_string(root().join("dev"))?;
    for path in files(&[".md"])? {
        let text = fs::read_to_string(&path)?;
        for rest in text.split("./dev ").skip(1) {
            let command: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            let known =
                script.contains(&format!("\n  {command}) ")) || script.contains(&format!("\n  {command})\n"));
            assert!(command.is_empty() || known, "{} shows `./dev {command}`", path.display());
        }
    }
    Ok(())
}

/// Schemas of the API's document are known by name: of two that share one, the document would show one in both places.
#[test]
fn schemas_of_the_api_have_names_of_their_own() -> anyhow::Result<()> {
    let mut homes = BTreeMap::<String, PathBuf>::new();
    for path in files(&[".rs"])? {
        let text = fs::read_to_string(&path)?;
        let derived = text.split("#[derive(").skip(1).filter_map(|rest| rest.split_once(")]"));
        for (_, item) in derived.filter(|(derives, _)| derives.contains("ToSchema")) {
            let named = item.split_once("struct ").into_iter().chain(item.split_once("enum "));
            let first = named.min_by_key(|(before, _)| before.len()).context("a struct or an enumeration")?.1;
            let name: String = first.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            if let Some(other) = homes.insert(name.clone(), path.clone()) {
                panic!("`{name}` is in {} and in {}", other.display(), path.display());
            }
        }
    }
    assert!(homes.len() > 30, "{} schemas", homes.len());
    Ok(())
}
