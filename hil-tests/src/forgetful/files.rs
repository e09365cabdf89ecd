//! What is on the disk, and what would be left of it if the power failed now. Pure bookkeeping, no file system.
//!
//! As on a journaling file system: a sync of a file brings its bytes and every earlier change of names to the disk; without
//! one, bytes may be lost, arrive in any order, or arrive in part, and of the changes of names any number of the newest may
//! be missing.

use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

pub(super) const ROOT: u64 = 1;
/// What a disk writes whole.
const SECTOR: usize = 512;

/// Names: folder and name to what bears the name.
type Names = BTreeMap<(u64, OsString), u64>;

/// A change of names that is not on the disk yet.
#[derive(Debug, Clone)]
enum Naming {
    Given(u64, OsString, u64),
    Taken(u64, OsString),
    Moved { from: (u64, OsString), to: (u64, OsString) },
}

/// A change of a file that is not on the disk yet.
#[derive(Debug, Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Size(usize),
}

/// A file or a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) is_folder: bool,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
    on_disk: Vec<u8>,
    pending: Vec<Change>,
}

/// The whole disk.
#[derive(Debug)]
pub(super) struct Files {
    nodes: BTreeMap<u64, Node>,
    names: Names,
    names_on_disk: Names,
    pending: Vec<Naming>,
    next: u64,
}

impl Files {
    pub(super) fn new() -> Self {
        let root = Node { is_folder: true, mode: 0o755, ..Node::default() };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            names: Names::new(),
            names_on_disk: Names::new(),
            pending: Vec::new(),
            next: ROOT + 1,
        }
    }

    pub(super) fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    pub(super) fn listed(&self, folder: u64) -> Vec<(OsString, u64)> {
        let named = self.names.iter().filter(|((parent, _), _)| *parent == folder);
        named.map(|((_, name), id)| (name.clone(), *id)).collect()
    }

    /// Everything there is.
    pub(super) fn all(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.names.values().filter_map(|id| self.nodes.get(id)).map(|node| node.bytes.len()).sum()
    }

    pub(super) fn make(&mut self, folder: u64, name: &OsStr, is_folder: bool, mode: u32) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node { is_folder, mode, ..Node::default() });
        self.name(Naming::Given(folder, name.to_owned(), id));
        id
    }

    pub(super) fn take(&mut self, folder: u64, name: &OsStr) {
        self.name(Naming::Taken(folder, name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) {
        let owned = |(folder, name): (u64, &OsStr)| (folder, name.to_owned());
        self.name(Naming::Moved { from: owned(from), to: owned(to) });
    }

    fn name(&mut self, naming: Naming) {
        apply_naming(&mut self.names, &naming);
        self.pending.push(naming);
    }

    pub(super) fn set_mode(&mut self, id: u64, mode: u32) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.mode = mode;
        }
    }

    pub(super) fn write(&mut self, id: u64, at: usize, bytes: &[u8]) {
        self.change(id, Change::Bytes { at, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, id: u64, size: usize) {
        self.change(id, Change::Size(size));
    }

    fn change(&mut self, id: u64, change: Change) {
        if let Some(node) = self.nodes.get_mut(&id) {
            apply_change(&mut node.bytes, &change);
            node.pending.push(change);
        }
    }

    /// Brings a file, and every change of names so far, to the disk.
    pub(super) fn sync(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            for change in node.pending.drain(..) {
                apply_change(&mut node.on_disk, &change);
            }
        }
        for naming in self.pending.drain(..) {
            apply_naming(&mut self.names_on_disk, &naming);
        }
    }

    /// Loses the bytes of a file that are not on the disk; its size is part of the names, which are written later.
    pub(super) fn lose(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            for change in node.pending.drain(..) {
                let end = match change {
                    Change::Size(size) => size,
                    Change::Bytes { at, bytes } => node.on_disk.len().max(at + bytes.len()),
                };
                node.on_disk.resize(end, 0);
            }
            node.bytes = node.on_disk.clone();
        }
    }

    /// The power fails: what is left is what was brought to the disk, and of the rest whatever chance has it.
    pub(super) fn cut(&mut self, rng: &mut impl Rng) {
        let survive = rng.random_range(0..=self.pending.len());
        for naming in self.pending.drain(..).take(survive) {
            apply_naming(&mut self.names_on_disk, &naming);
        }
        self.names = self.names_on_disk.clone();
        for node in self.nodes.values_mut() {
            for change in node.pending.drain(..) {
                if let Some(left) = left_of(change, rng) {
                    apply_change(&mut node.on_disk, &left);
                }
            }
            node.bytes = node.on_disk.clone();
        }
        let named: BTreeSet<_> = self.names.values().copied().chain([ROOT]).collect();
        self.nodes.retain(|id, _| named.contains(id));
    }
}

/// What a power cut leaves of a change that was under way: all of it, nothing, or its first or last sectors.
fn left_of(change: Change, rng: &mut impl Rng) -> Option<Change> {
    match (rng.random_range(0..4_u8), change) {
        (0, _) => None,
        (1, Change::Bytes { at, bytes }) if bytes.len() > SECTOR => {
            let torn = rng.random_range(1..bytes.len().div_ceil(SECTOR)) * SECTOR;
            Some(match rng.random_bool(0.5) {
                true => Change::Bytes { at, bytes: bytes[..torn].to_vec() },
                false => Change::Bytes { at: at + torn, bytes: bytes[torn..].to_vec() },
            })
        }
        (_, change) => Some(change),
    }
}

fn apply_naming(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Given(folder, name, id) => {
            names.insert((*folder, name.clone()), *id);
        }
        Naming::Taken(folder, name) => {
            names.remove(&(*folder, name.clone()));
        }
        Naming::Moved { from, to } => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

fn apply_change(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Size(size) => file.resize(*size, 0),
        Change::Bytes { at, bytes } => {
            let end = at + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*at..end].copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn with_file(synced: bool) -> Files {
        let mut files = Files::new();
        let id = files.make(ROOT, OsStr::new("a"), false, 0o644);
        files.write(id, 0, &[7; 4096]);
        if synced {
            files.sync(id);
        }
        files
    }

    fn bytes(files: &Files, name: &str) -> Option<Vec<u8>> {
        Some(files.node(files.find(ROOT, OsStr::new(name))?)?.bytes.clone())
    }

    #[test]
    fn what_was_synced_survives_every_cut() {
        for seed in 0..200 {
            let mut files = with_file(true);
            files.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")));
            files.cut(&mut StdRng::seed_from_u64(seed));
            let found = bytes(&files, "a").or_else(|| bytes(&files, "b"));
            assert_eq!(found, Some(vec![7; 4096]));
        }
    }

    #[test]
    fn what_was_not_synced_may_be_gone_torn_or_there() {
        let outcomes: BTreeSet<_> = (0..400)
            .map(|seed| {
                let mut files = with_file(false);
                files.cut(&mut StdRng::seed_from_u64(seed));
                bytes(&files, "a").map(|bytes| bytes.iter().filter(|byte| **byte == 7).count())
            })
            .collect();
        assert!(outcomes.contains(&None) && outcomes.contains(&Some(0)) && outcomes.contains(&Some(4096)));
        assert!(outcomes.iter().flatten().any(|count| *count % SECTOR == 0 && (1..4096).contains(count)));
    }
}
