//! The last word of the release keys: all that was believed together when somebody could be asked, in one file, whole or not at all.
//! While nobody can be asked, what the box holds is held against it. It is checked again from the root that the box was given
//! and does not end: what was released stays so until somebody says otherwise.

use super::error::TrustError;
use super::guard::each_key_once;
use super::kept::{Kept, LARGEST as LARGEST_FILE};
use noderr_part::{read_file, replace_file};
use noderr_protocol::release::{BUILDERS, MAX_MANIFEST};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, MetadataStore as _, Repository, TrustedMetadataSet};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "last-word.json";
/// Who might build when somebody was asked last: that may be later than the word.
const NEWEST_BUILDERS: &str = "newest-builders.json";
/// More than all metadata of a network comes to; what is larger was written by somebody else.
const LARGEST: u64 = 32 << 20;

/// What was believed together, by the names of the files.
#[derive(Debug, Serialize, Deserialize)]
struct Words {
    /// The version of the root under which it was.
    root: u64,
    files: BTreeMap<String, String>,
}

/// Keeps what is believed now, and who may build. Of roles that have ended, what was kept before is kept on while the newest snapshot names
/// the same version; returns false, and keeps nothing new, where something that was kept would be lost.
pub(super) fn keep(
    folder: &Path,
    trusted: &TrustedMetadataSet,
    ended: &BTreeSet<String>,
    builders: &[u8],
) -> io::Result<bool> {
    let mut files = BTreeMap::from([(BUILDERS.to_owned(), text(builders.to_vec())?)]);
    let pinned = trusted.snapshot().into_iter().flat_map(|snapshot| snapshot.meta.keys());
    // Roles that nobody has asked for may lie there from an earlier time.
    let is_loaded =
        |name: &&String| name.strip_suffix(".json").is_some_and(|role| trusted.targets_role(role).is_some());
    let roles = pinned.filter(is_loaded).map(String::as_str);
    for name in roles.chain(["timestamp.json", "snapshot.json"]) {
        files.insert(name.to_owned(), text(read_file(&folder.join(name), LARGEST_FILE)?)?);
    }
    let before =
        read_file(&folder.join(FILE), LARGEST).ok().and_then(|words| serde_json::from_slice(&words).ok());
    let before: BTreeMap<String, String> = before.map(|words: Words| words.files).unwrap_or_default();
    for name in ended.iter().map(|role| format!("{role}.json")) {
        let Some(kept) = before.get(&name) else { continue };
        let pinned = trusted.snapshot().and_then(|snapshot| snapshot.meta.get(&name));
        if pinned.is_none_or(|pinned| version_of(kept) != Some(pinned.version)) {
            return Ok(false);
        }
        files.insert(name, kept.clone());
    }
    write(&folder.join(FILE), &serde_json::to_vec(&Words { root: trusted.root().version, files })?)?;
    Ok(true)
}

fn version_of(metadata: &str) -> Option<u64> {
    serde_json::from_str::<Value>(metadata).ok()?["signed"]["version"].as_u64()
}

/// Keeps who may build, as soon as that is heard: a word is kept once all that it names has come, and whoever withholds a part of it
/// gives nobody back who was taken away.
pub(super) fn keep_builders(folder: &Path, builders: &[u8]) -> io::Result<()> {
    write(&folder.join(NEWEST_BUILDERS), builders)
}

/// Who might build when somebody was asked last, if that was kept.
pub(super) fn newest_builders(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_file(&folder.join(NEWEST_BUILDERS), LARGEST_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    // What is there already needs no new copy: the disk of a box wears out.
    if read_file(place, LARGEST).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    replace_file(place, bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// What a box shows itself in place of a server: the last word, as it was kept, and the manifests of what it holds.
pub(super) struct Remembered {
    files: BTreeMap<String, String>,
    held: PathBuf,
}

impl Remembered {
    /// What was kept in a folder, and the root under which it was believed, as far as the kept chain leads there from `root`: a newer
    /// root, kept before the rest had come with it, takes nothing from what was believed whole.
    pub(super) fn open(folder: &Path, held: PathBuf, root: &[u8]) -> Result<(Self, Vec<u8>), TrustError> {
        let words = read_file(&folder.join(FILE), LARGEST).map_err(TrustError::Disk)?;
        let words: Words = serde_json::from_slice(&words).map_err(|error| TrustError::Disk(error.into()))?;
        let kept = Kept::open(folder).map_err(TrustError::Disk)?;
        let mut trusted = TrustedMetadataSet::from_root(root)?;
        while trusted.root().version < words.root {
            let Some(next) = kept.load(&super::kept::root_after(trusted.root().version))? else { break };
            trusted.update_root(&next)?;
        }
        Ok((Self { files: words.files, held }, trusted.root_bytes().to_vec()))
    }

    /// The manifest of something that is held, which goes by its hash in both places: `<hash>.<name>` here, `<hash>/` there.
    fn manifest(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((hash, _)) = name.split_once('.') else { return Ok(None) };
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        match read_file(&self.held.join(hash).join("manifest.json"), MAX_MANIFEST as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Repository for Remembered {
    fn fetch_metadata<'a>(&'a self, name: &'a str, _max_length: u64) -> FetchFuture<'a> {
        let unversioned = name.split_once('.').filter(|(version, _)| version.parse::<u64>().is_ok());
        let name = unversioned.map_or(name, |(_, name)| name);
        let found = self.files.get(name).map(|text| text.clone().into_bytes());
        Box::pin(async move {
            found.as_deref().map_or(Ok(()), each_key_once)?;
            Ok(found)
        })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, _max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            if path.split_once('.').is_some_and(|(_, name)| name == BUILDERS) {
                return Ok(self.files.get(BUILDERS).map(|text| text.clone().into_bytes()));
            }
            self.manifest(path).map_err(|error| Error::transport(error.to_string()))
        })
    }
}
