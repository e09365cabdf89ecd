//! What a control plane hands out, as far as those who may have signed it: root after root, then role after role. A hostile control plane
//! gets nothing further with whoever asks it than the signatures go.

use crate::ReleaseError;
use crate::authority::Authority;
use crate::digest::sha256;
use crate::folder::ReleaseFolder;
use crate::metadata::{Metadata, Root, Snapshot, Targets, Timestamp};
use crate::signed::SignedMetadata;
use crate::soundness::is_name_of_role;
use std::collections::{BTreeMap, BTreeSet};

/// More roots than a network ever has, and more bytes of them.
const MOST_ROOTS: usize = 1000;
const MOST_BYTES: usize = 32 << 20;

/// What is published.
#[derive(Default)]
pub struct Published {
    roots: Vec<(SignedMetadata<Root>, Vec<u8>)>,
    bytes: usize,
    /// The versions of the roles, by the snapshot.
    versions: BTreeMap<String, u64>,
    /// Roles that are still to come, and who signs them.
    waiting: Vec<(String, Authority)>,
    seen: BTreeSet<String>,
}

fn refused(what: &str, why: impl Into<String>) -> ReleaseError {
    ReleaseError::NotPublished(what.to_owned(), why.into())
}

fn read<M: Metadata>(what: &str, bytes: &[u8]) -> Result<SignedMetadata<M>, ReleaseError> {
    SignedMetadata::read(bytes).map_err(|why| refused(what, why))
}

fn signed<M: Metadata>(what: &str, by: &Authority, bytes: &[u8]) -> Result<SignedMetadata<M>, ReleaseError> {
    let signed = read(what, bytes)?;
    if by.is_met(&signed) {
        return Ok(signed);
    }
    Err(refused(what, "it is not signed by enough of those who may"))
}

impl Published {
    /// The version of the root that comes next.
    pub fn next_root(&self) -> u64 {
        self.roots.len() as u64 + 1
    }

    /// Takes the next root, which those before it have signed.
    pub fn add_root(&mut self, bytes: Vec<u8>) -> Result<(), ReleaseError> {
        let what = format!("root {}", self.next_root());
        self.bytes += bytes.len();
        if self.roots.len() >= MOST_ROOTS || self.bytes > MOST_BYTES {
            return Err(refused(&what, "there are more roots than a network has"));
        }
        let root: SignedMetadata<Root> = read(&what, &bytes)?;
        if root.says().version != self.next_root() {
            return Err(refused(&what, format!("it says that it is version {}", root.says().version)));
        }
        let before = self.roots.last().map(|(before, _)| before);
        for by in before.into_iter().chain([&root]) {
            if !Authority::of_root(by.says(), "root")?.is_met(&root) {
                return Err(refused(
                    &what,
                    format!("too few keys of root {} have signed it", by.says().version),
                ));
            }
        }
        self.roots.push((root, bytes));
        Ok(())
    }

    /// What the first root goes by.
    pub fn first_root(&self) -> Result<String, ReleaseError> {
        let (_, first) = self.roots.first().ok_or_else(|| refused("root 1", "nothing is published"))?;
        Ok(sha256(first))
    }

    /// Refuses to go on with a folder of another network, before anything is written there.
    pub fn go_on_from(&self, folder: &ReleaseFolder) -> Result<(), ReleaseError> {
        for (root, bytes) in &self.roots {
            let version = root.says().version;
            if folder.bytes("root", version)?.is_some_and(|there| there != *bytes) {
                let why = "the folder has another: it is of another network, or has gone another way";
                return Err(refused(&format!("root {version}"), why));
            }
        }
        Ok(())
    }

    fn authority(&self, role: &str) -> Result<Authority, ReleaseError> {
        let (root, _) = self.roots.last().ok_or_else(|| refused("root 1", "nothing is published"))?;
        Authority::of_root(root.says(), role)
    }

    /// The version of the snapshot, by the timestamp.
    pub fn snapshot_of(&self, timestamp: &[u8]) -> Result<u64, ReleaseError> {
        let timestamp: SignedMetadata<Timestamp> =
            signed("the timestamp", &self.authority("timestamp")?, timestamp)?;
        let pinned = timestamp.says().meta.get("snapshot.json").map(|pinned| pinned.version);
        pinned.ok_or_else(|| refused("the timestamp", "it names no snapshot"))
    }

    /// Takes the snapshot, which says which roles are to come, and in which version.
    pub fn add_snapshot(&mut self, snapshot: &[u8]) -> Result<(), ReleaseError> {
        let snapshot: SignedMetadata<Snapshot> =
            signed("the snapshot", &self.authority("snapshot")?, snapshot)?;
        for (file, meta) in &snapshot.says().meta {
            // It becomes the name of a file.
            let role = file.strip_suffix(".json").filter(|role| is_name_of_role(role));
            let strange = || refused("the snapshot", format!("`{}` is no role", file.escape_debug()));
            self.versions.insert(role.ok_or_else(strange)?.to_owned(), meta.version);
        }
        self.waiting = vec![("targets".to_owned(), self.authority("targets")?)];
        self.seen = BTreeSet::from(["targets".to_owned()]);
        Ok(())
    }

    /// The role that comes next, and its version.
    pub fn next_role(&self) -> Result<Option<(String, u64)>, ReleaseError> {
        let Some((role, _)) = self.waiting.last() else { return Ok(None) };
        let version = self.versions.get(role);
        let version = version.ok_or_else(|| refused(role, "the snapshot does not name it"))?;
        Ok(Some((role.clone(), *version)))
    }

    /// Takes the role that comes next.
    pub fn add_role(&mut self, bytes: &[u8]) -> Result<SignedMetadata<Targets>, ReleaseError> {
        let (role, by) = self.waiting.pop().ok_or_else(|| refused("a role", "nobody has asked for it"))?;
        let says: SignedMetadata<Targets> = signed(&role, &by, bytes)?;
        if self.versions.get(&role) != Some(&says.says().version) {
            return Err(refused(&role, "it is another version than the snapshot names"));
        }
        for below in says.says().delegations.iter().flat_map(|delegations| &delegations.roles) {
            if self.seen.insert(below.name.clone()) {
                self.waiting.push((below.name.clone(), Authority::of_delegation(says.says(), &below.name)?));
            }
        }
        Ok(says)
    }

    /// Puts the roots into a folder, last of all: with a root, a folder is one.
    pub fn put_roots(&self, folder: &ReleaseFolder) -> Result<(), ReleaseError> {
        for (root, bytes) in &self.roots {
            folder.put_signed::<Root>("root", root.says().version, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{FileKey, ReleaseKey as _};
    use crate::metadata::{MetaFile, Roles};

    struct Network {
        keys: [FileKey; 2],
        online: FileKey,
    }

    fn ends() -> jiff::Timestamp {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    impl Network {
        fn new() -> Self {
            Self { keys: [(); 2].map(|()| FileKey::generate()), online: FileKey::generate() }
        }

        fn root(&self, version: u64, signers: &[&FileKey]) -> Vec<u8> {
            let [anna, ben] = &self.keys;
            let roles = Roles {
                root: (&[anna.public(), ben.public()], 2),
                targets: (&[anna.public()], 1),
                snapshot: (&[self.online.public()], 1),
                timestamp: (&[self.online.public()], 1),
            };
            let mut root = SignedMetadata::new(Root::new(version, ends(), &roles));
            signers.iter().for_each(|key| root.sign(*key).unwrap());
            root.to_bytes().unwrap()
        }

        fn published(&self) -> Published {
            let mut published = Published::default();
            published.add_root(self.root(1, &[&self.keys[0], &self.keys[1]])).unwrap();
            published
        }

        fn snapshot(&self, role: &str, by: &FileKey) -> Vec<u8> {
            let meta = BTreeMap::from([(format!("{role}.json"), MetaFile::of(3, b""))]);
            let mut snapshot = SignedMetadata::new(Snapshot::new(1, ends(), meta));
            snapshot.sign(by).unwrap();
            snapshot.to_bytes().unwrap()
        }
    }

    #[test]
    fn a_root_that_too_few_have_signed_ends_it() {
        let (ours, theirs) = (Network::new(), Network::new());
        let mut published = ours.published();
        assert!(published.add_root(ours.root(2, &[&ours.keys[0]])).is_err());
        assert!(published.add_root(theirs.root(2, &[&theirs.keys[0], &theirs.keys[1]])).is_err());
        assert!(
            published.add_root(ours.root(3, &[&ours.keys[0], &ours.keys[1]])).is_err(),
            "one is passed over"
        );
        published.add_root(ours.root(2, &[&ours.keys[0], &ours.keys[1]])).unwrap();
        assert_eq!(published.next_root(), 3);
    }

    #[test]
    fn a_role_that_would_be_a_file_elsewhere_is_none_and_nor_is_what_the_wrong_key_has_signed() {
        let network = Network::new();
        for name in ["../../x", "/x", "a/b", ".", ""] {
            assert!(
                network.published().add_snapshot(&network.snapshot(name, &network.online)).is_err(),
                "{name}"
            );
        }
        let mut published = network.published();
        assert!(published.add_snapshot(&network.snapshot("targets", &network.keys[0])).is_err());
        published.add_snapshot(&network.snapshot("targets", &network.online)).unwrap();
        assert_eq!(published.next_role().unwrap(), Some(("targets".to_owned(), 3)));
        let mut targets = SignedMetadata::new(Targets::new(3, ends()));
        targets.sign(&network.online).unwrap();
        assert!(published.add_role(&targets.to_bytes().unwrap()).is_err());
    }

    #[test]
    fn roots_end() {
        let network = Network::new();
        let mut published = Published::default();
        let mut version = 0;
        let ended = loop {
            version += 1;
            let root = network.root(version, &[&network.keys[0], &network.keys[1]]);
            if let Err(error) = published.add_root(root) {
                break error.to_string();
            }
        };
        assert!(ended.contains("more roots") && version == 1001, "{version}: {ended}");
    }
}
