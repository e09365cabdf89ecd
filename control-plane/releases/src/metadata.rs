//! What each role says, as The Update Framework writes it down.

use crate::digest::sha256;
use crate::key::PublicKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SPEC: &str = "1.0.31";

/// What a role says.
pub trait Metadata: Serialize + DeserializeOwned + Clone + PartialEq {
    /// The version; each is greater by one than the version before.
    fn version(&self) -> u64;
    /// When it ends.
    fn expires(&self) -> jiff::Timestamp;
    /// Whether it means what it seems to mean: who signs is shown ids and names, and whoever holds the stick may have written them.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Declares a role's metadata: what all have in common, and what the role says.
macro_rules! metadata {
    ($(#[$doc:meta])* $name:ident, $type:literal, $check:expr, {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            #[serde(rename = "_type")]
            kind: String,
            spec_version: String,
            /// The version.
            pub version: u64,
            /// When it ends.
            pub expires: jiff::Timestamp,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $name {
            /// A version of it.
            fn of(version: u64, expires: jiff::Timestamp, $($field: $kind),*) -> Self {
                // Metadata knows whole seconds and no parts of them.
                let expires = jiff::Timestamp::from_second(expires.as_second()).unwrap_or(expires);
                Self { kind: $type.to_owned(), spec_version: SPEC.to_owned(), version, expires, $($field),* }
            }
        }

        impl Metadata for $name {
            fn version(&self) -> u64 {
                self.version
            }

            fn expires(&self) -> jiff::Timestamp {
                self.expires
            }

            fn check(&self) -> Result<(), String> {
                if self.kind != $type {
                    return Err(format!("it does not say that it is `{}`", $type));
                }
                if self.spec_version != SPEC {
                    return Err(format!("it is not of version {SPEC} of the framework"));
                }
                let check: fn(&Self) -> Result<(), String> = $check;
                check(self)
            }
        }
    };
}

metadata! {
    /// The root: which keys may say what.
    Root, "root", Root::check_roles, {
        /// Whether files are named by version and hash, so that what is being fetched is never replaced.
        consistent_snapshot: bool,
        /// All keys, by id.
        keys: BTreeMap<String, PublicKey>,
        /// Who may sign what.
        roles: BTreeMap<String, RoleKeys>,
    }
}

metadata! {
    /// Which targets there are, and who else may say so.
    Targets, "targets", Targets::check_names, {
        /// By name.
        targets: BTreeMap<String, TargetFile>,
        /// Others who may name targets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delegations: Option<Delegations>,
    }
}

metadata! {
    /// Which versions of targets belong together.
    Snapshot, "snapshot", |_| Ok(()), {
        /// By file name.
        meta: BTreeMap<String, MetaFile>,
    }
}

metadata! {
    /// Which snapshot is the newest, renewed often, so that nobody can show an old one for long.
    Timestamp, "timestamp", |_| Ok(()), {
        /// `snapshot.json`, and nothing else.
        meta: BTreeMap<String, MetaFile>,
        /// The beacon of that time: what channels have, which the framework knows nothing of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beacon: Option<TargetFile>,
    }
}

/// The keys of a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Ids of the keys.
    pub keyids: Vec<String>,
    /// How many must sign.
    pub threshold: usize,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its length in bytes.
    pub length: u64,
    /// Its hashes in hexadecimal, by algorithm.
    pub hashes: BTreeMap<String, String>,
}

/// Another file of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes, where a change within a version must be noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
}

/// Others who may name targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Their keys, by id.
    pub keys: BTreeMap<String, PublicKey>,
    /// Who may name what, in order.
    pub roles: Vec<DelegatedRole>,
}

/// A role that may name some targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Who may sign.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Whether nobody after it is asked for these names.
    pub terminating: bool,
    /// Patterns of names, in which `*` stands for a part between slashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How the SHA-256 of names begins, in hexadecimal, in place of patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_hash_prefixes: Vec<String>,
}

/// Who may sign what: keys, and how many of them must.
pub struct Roles<'a> {
    /// The root itself.
    pub root: (&'a [&'a PublicKey], usize),
    /// Targets.
    pub targets: (&'a [&'a PublicKey], usize),
    /// Snapshots.
    pub snapshot: (&'a [&'a PublicKey], usize),
    /// Timestamps.
    pub timestamp: (&'a [&'a PublicKey], usize),
}

impl Root {
    /// A root of these roles.
    pub fn new(version: u64, expires: jiff::Timestamp, roles: &Roles<'_>) -> Self {
        let named = [
            ("root", roles.root),
            ("targets", roles.targets),
            ("snapshot", roles.snapshot),
            ("timestamp", roles.timestamp),
        ];
        let keys = named.iter().flat_map(|(_, (keys, _))| *keys);
        let keys = keys.map(|key| (key.id(), (*key).clone())).collect();
        let roles = named
            .iter()
            .map(|(name, (keys, threshold))| ((*name).to_owned(), RoleKeys::of(keys, *threshold)));
        Self::of(version, expires, true, keys, roles.collect())
    }
}

impl RoleKeys {
    /// These keys, of which so many must sign.
    pub fn of(keys: &[&PublicKey], threshold: usize) -> Self {
        Self { keyids: keys.iter().map(|key| key.id()).collect(), threshold }
    }
}

impl Targets {
    /// A version that names nothing yet.
    pub fn new(version: u64, expires: jiff::Timestamp) -> Self {
        Self::of(version, expires, BTreeMap::new(), None)
    }

    /// Names a target of these bytes.
    pub fn name(&mut self, name: &str, bytes: &[u8]) {
        self.targets.insert(name.to_owned(), TargetFile::of(bytes.len() as u64, sha256(bytes)));
    }

    /// Lets others name the targets that fit these patterns. Whoever is asked first is whoever was let first.
    pub fn delegate(&mut self, name: &str, paths: &[&str], keys: &[&PublicKey], threshold: usize) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.let_name(name, (paths, Vec::new()), keys, threshold);
    }

    /// Lets another role name the targets whose names have such a hash.
    pub(crate) fn delegate_hashes(
        &mut self,
        name: &str,
        prefixes: Vec<String>,
        keys: &[&PublicKey],
        threshold: usize,
    ) {
        self.let_name(name, (Vec::new(), prefixes), keys, threshold);
    }

    fn let_name(
        &mut self,
        name: &str,
        (paths, path_hash_prefixes): (Vec<String>, Vec<String>),
        keys: &[&PublicKey],
        threshold: usize,
    ) {
        let none = || Delegations { keys: BTreeMap::new(), roles: Vec::new() };
        let delegations = self.delegations.get_or_insert_with(none);
        delegations.keys.extend(keys.iter().map(|key| (key.id(), (*key).clone())));
        delegations.roles.retain(|role| role.name != name);
        delegations.roles.push(DelegatedRole {
            name: name.to_owned(),
            keys: RoleKeys::of(keys, threshold),
            terminating: true,
            paths,
            path_hash_prefixes,
        });
        let used: Vec<_> = delegations.roles.iter().flat_map(|role| role.keys.keyids.clone()).collect();
        delegations.keys.retain(|id, _| used.contains(id));
    }
}

impl TargetFile {
    pub(crate) fn of(length: u64, sha256: String) -> Self {
        Self { length, hashes: BTreeMap::from([("sha256".to_owned(), sha256)]) }
    }
}

impl MetaFile {
    /// A file of these bytes.
    pub(crate) fn of(version: u64, bytes: &[u8]) -> Self {
        let hashes = BTreeMap::from([("sha256".to_owned(), sha256(bytes))]);
        Self { version, length: Some(bytes.len() as u64), hashes: Some(hashes) }
    }
}

impl Snapshot {
    /// These versions belong together.
    pub fn new(version: u64, expires: jiff::Timestamp, meta: BTreeMap<String, MetaFile>) -> Self {
        Self::of(version, expires, meta)
    }
}

impl Timestamp {
    /// This snapshot is the newest.
    pub fn new(version: u64, expires: jiff::Timestamp, snapshot: (u64, &[u8])) -> Self {
        let (snapshot, bytes) = snapshot;
        let pin = MetaFile::of(snapshot, bytes);
        Self::of(version, expires, BTreeMap::from([("snapshot.json".to_owned(), pin)]), None)
    }

    /// The same snapshot, later.
    #[must_use]
    pub(crate) fn again(&self, version: u64, expires: jiff::Timestamp) -> Self {
        Self::of(version, expires, self.meta.clone(), self.beacon.clone())
    }

    /// With this beacon.
    #[must_use]
    pub fn with_beacon(self, beacon: &[u8]) -> Self {
        Self { beacon: Some(TargetFile::of(beacon.len() as u64, sha256(beacon))), ..self }
    }
}
