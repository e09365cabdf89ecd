//! The protocol's types as their source declares them: fields, types and what the comments say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A field of a structure, or a variant of an enumeration.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) about: String,
}

/// A structure or an enumeration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Type {
    pub(crate) about: String,
    pub(crate) is_enum: bool,
    pub(crate) members: Vec<Member>,
}

/// Every public type of the protocol's sources.
pub(crate) fn types() -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut types);
    types
}

fn read_folder(folder: &Path, types: &mut BTreeMap<String, Type>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, types);
        } else {
            read(&fs::read_to_string(path).unwrap(), types);
        }
    }
}

fn read(source: &str, types: &mut BTreeMap<String, Type>) {
    let mut about = String::new();
    let mut open: Option<(String, Type)> = None;
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            about = format!("{about} {}", comment.trim()).trim().to_owned();
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        match &mut open {
            None => {
                let head = line.strip_prefix("pub struct ").map(|rest| (rest, false));
                let head = head.or_else(|| line.strip_prefix("pub enum ").map(|rest| (rest, true)));
                if let Some((name, is_enum)) =
                    head.and_then(|(rest, is)| Some((rest.strip_suffix(" {")?, is)))
                {
                    open =
                        Some((name.to_owned(), Type { about: about.clone(), is_enum, members: Vec::new() }));
                }
            }
            Some((name, found)) if line == "}" => {
                types.insert(name.clone(), found.clone());
                open = None;
            }
            Some((_, found)) => found.members.extend(member(line, found.is_enum, &about)),
        }
        about = String::new();
    }
}

fn member(line: &str, of_enum: bool, about: &str) -> Option<Member> {
    let line = line.strip_suffix(',')?;
    let (name, kind) = if of_enum {
        line.split_once('(').map_or((line, ""), |(name, kind)| (name, kind.trim_end_matches(')')))
    } else {
        line.strip_prefix("pub ")?.split_once(": ")?
    };
    let owned = |text: &str| text.to_owned();
    Some(Member { name: owned(name), kind: owned(kind), about: owned(about) })
}
