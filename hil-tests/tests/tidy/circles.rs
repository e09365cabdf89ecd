//! Finds circles between the files of a crate: which file uses which, by the paths that the files name. A
//! name that a `mod.rs` only re-exports is followed to the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path within its crate: empty for the root.
type Module = Vec<String>;

/// The files of one crate.
pub(crate) struct House {
    sources: BTreeMap<Module, Source>,
}

struct Source {
    file: PathBuf,
    /// Its re-exports: each with its name here, and the path of its origin.
    hands_on: Vec<(String, Vec<String>)>,
    /// The paths that the file names.
    names: Vec<Vec<String>>,
}

impl House {
    /// Reads every file below `src`.
    pub(crate) fn read(src: &Path) -> anyhow::Result<Self> {
        let mut sources = BTreeMap::new();
        read_folder(src, &Vec::new(), &mut sources)?;
        Ok(Self { sources })
    }

    /// The first circle that is found, as the files along it.
    pub(crate) fn circle(&self) -> Option<Vec<String>> {
        let arrows: BTreeMap<&Module, BTreeSet<Module>> =
            self.sources.iter().map(|(module, source)| (module, self.used_by(module, source))).collect();
        let mut done = BTreeSet::new();
        for start in self.sources.keys() {
            let mut path = Vec::new();
            if let Some(circle) = walk(start, &arrows, &mut path, &mut done) {
                return Some(
                    circle.iter().map(|module| self.sources[module].file.display().to_string()).collect(),
                );
            }
        }
        None
    }

    fn used_by(&self, module: &Module, source: &Source) -> BTreeSet<Module> {
        let used = source.names.iter().filter_map(|path| self.resolve(module, path, 0));
        used.filter(|used| used != module).collect()
    }

    /// The module that defines what a path names.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut rest = path;
        let mut here = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "super" | "self" => from.clone(),
            // A name that is no child of the module belongs to another crate.
            child if self.sources.contains_key(&[from.clone(), vec![child.to_owned()]].concat()) => {
                from.clone()
            }
            _ => return None,
        };
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(here.pop()),
                name => {
                    let below = [here.clone(), vec![name.to_owned()]].concat();
                    if !self.sources.contains_key(&below) {
                        break;
                    }
                    here = below;
                }
            }
            rest = &rest[1..];
        }
        let Some(item) = rest.first() else { return self.sources.contains_key(&here).then_some(here) };
        let source = self.sources.get(&here)?;
        let handed = source.hands_on.iter().find(|(name, _)| name == item);
        match handed {
            Some((_, origin)) if depth < 8 => self.resolve(&here, origin, depth + 1).or(Some(here)),
            _ => Some(here),
        }
    }
}

fn walk(
    module: &Module,
    arrows: &BTreeMap<&Module, BTreeSet<Module>>,
    path: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(at) = path.iter().position(|seen| seen == module) {
        return Some(path[at..].to_vec());
    }
    if !done.insert(module.clone()) {
        return None;
    }
    path.push(module.clone());
    for next in arrows.get(module).into_iter().flatten() {
        if let Some(circle) = walk(next, arrows, path, done) {
            return Some(circle);
        }
    }
    path.pop();
    None
}

fn read_folder(folder: &Path, module: &Module, sources: &mut BTreeMap<Module, Source>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let below = || [module.clone(), vec![stem.clone()]].concat();
        if path.is_dir() {
            read_folder(&path, &below(), sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let root = ["lib", "main", "mod"].contains(&stem.as_str());
            let module = if root { module.clone() } else { below() };
            // The program of a crate may use everything of its library, so it is left out.
            if stem != "main" || !folder.join("lib.rs").exists() {
                sources.insert(module, read_source(&path)?);
            }
        }
    }
    Ok(())
}

fn read_source(file: &Path) -> anyhow::Result<Source> {
    let text = fs::read_to_string(file)?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let (mut hands_on, mut names) = (Vec::new(), Vec::new());
    for statement in code.split(';') {
        let Some((visibility, tree)) = use_statement(statement) else {
            names.extend(inline_paths(statement));
            continue;
        };
        for (path, name) in leaves(&tree, &[]) {
            if visibility { hands_on.push((name, path)) } else { names.push(path) }
        }
    }
    Ok(Source { file: file.to_owned(), hands_on, names })
}

/// Whether a `use` is a re-export, and its tree.
fn use_statement(statement: &str) -> Option<(bool, String)> {
    let statement = statement.trim_start();
    // Attributes, and the end of the item before, may stand in front.
    let at = statement.find("use ").filter(|at| {
        let before = statement[..*at].trim_end();
        before.is_empty()
            || before.ends_with("pub")
            || before.ends_with(')')
            || before.ends_with(']')
            || before.ends_with('}')
    })?;
    let handed_on = statement[..at].trim_end().ends_with("pub") || statement[..at].trim_end().ends_with(')');
    Some((handed_on, statement[at + 4..].split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Every path of a `use` tree, with the name that the path gets.
fn leaves(tree: &str, before: &[String]) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    match tree.split_once('{') {
        Some((head, inner)) => {
            let head: Vec<String> = head
                .trim_end_matches("::")
                .split("::")
                .filter(|part| !part.is_empty())
                .map(|part| part.trim().to_owned())
                .collect();
            let before = [before, &head].concat();
            let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
            commas(inner).iter().flat_map(|part| leaves(part, &before)).collect()
        }
        None if tree.is_empty() => Vec::new(),
        None => {
            let (path, alias) =
                tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
            let mut path: Vec<String> =
                [before, &path.split("::").map(|part| part.trim().to_owned()).collect::<Vec<_>>()].concat();
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            let name = alias.or(path.last().map(String::as_str)).unwrap_or_default().trim().to_owned();
            vec![(path, name)]
        }
    }
}

/// Splits at the commas that no brace encloses.
fn commas(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for char in text.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if char == ',' && depth == 0 {
            parts.push(String::new())
        } else if let Some(part) = parts.last_mut() {
            part.push(char)
        }
    }
    parts
}

/// Paths that code names without a `use`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    code.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':'))
        .filter(|word| ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)))
        .map(|word| word.trim_end_matches(':').split("::").map(str::to_owned).collect())
        .collect()
}

#[test]
fn a_circle_is_seen_through_what_a_face_hands_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
        fs::write(path, text)
    };
    write("lib.rs", "mod a;\nmod b;\npub use a::A;\n")?;
    write("a/mod.rs", "mod inner;\npub(crate) use inner::A;\n")?;
    write("a/inner.rs", "use crate::b::{B, C as D};\npub(crate) struct A;\n")?;
    write("b.rs", "use std::fmt;\npub(crate) struct B;\n")?;
    assert_eq!(House::read(folder.path())?.circle(), None);
    write("b.rs", "use std::fmt;\nfn f(_: crate::a::A) {}\npub(crate) struct B;\n")?;
    let circle = House::read(folder.path())?.circle();
    assert!(circle.as_ref().is_some_and(|files| files.len() == 2), "{circle:?}");
    Ok(())
}
