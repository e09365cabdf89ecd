//! What a signer has seen of a network, kept beside the key: a folder of another network, or an older state of this one, is
//! noticed before anything is signed.

use anyhow::{Context as _, ensure};
use atomic_write_file::AtomicWriteFile;
use noderr_releases::ReleaseFolder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The SHA-256 of the folder's first root, once it is in force.
    first_root: Option<String>,
    /// The SHA-256 of what the first root says, also while it lacks signatures.
    #[serde(default)]
    begins_with: Option<String>,
    /// The newest version of each role that those have signed who may.
    versions: BTreeMap<String, u64>,
}

impl Seen {
    /// What was seen before, if anything was.
    fn before(key: &Path) -> anyhow::Result<Option<Self>> {
        let place = place_of(key);
        let read = match fs::read(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(anyhow::Error::from).and_then(|seen| Ok(serde_json::from_slice(&seen)?)),
        };
        read.map(Some).with_context(|| format!("{} cannot be read", place.display()))
    }

    /// Refuses a folder that does not go on from what the holder of this key saw last.
    pub(super) fn check(key: &Path, releases: &ReleaseFolder) -> anyhow::Result<()> {
        let Some(before) = Self::before(key)? else { return Ok(()) };
        let first_root = releases.first_root().ok();
        ensure!(
            before.first_root.is_none() || before.first_root == first_root,
            "this is another network than the one that this key has signed for: its first root is {}, and was {}. If both \
             are meant, give each network a key of its own",
            first_root.as_deref().unwrap_or("not there"),
            before.first_root.as_deref().unwrap_or_default()
        );
        ensure!(
            before.begins_with.is_none() || before.begins_with == releases.begins_with()?,
            "this key has signed another first root than the one in this folder. If that one was given up, move the key's \
             .seen file away"
        );
        for (role, version) in &before.versions {
            let found = releases.newest_version(role)?.unwrap_or_default();
            ensure!(
                found >= *version,
                "{role} was in version {version} in the folder that this key signed last, and this folder has version {found}: \
                 it is an older copy, or two copies were signed at once. Take the newest copy, and prepare there again what was \
                 prepared here; see \"Copies of the folder\" in the guide. If the other was thrown away unpublished, compare this one \
                 with what is published (`noderrctl release compare`), and move the key's .seen file away"
            );
        }
        Ok(())
    }

    /// Keeps what the holder of this key has seen.
    pub(super) fn keep(key: &Path, releases: &ReleaseFolder) -> anyhow::Result<()> {
        let place = place_of(key);
        // What lies there and is not signed was perhaps put there by somebody else, and takes nothing away either.
        let mut versions = Self::before(key)?.unwrap_or_default().versions;
        for (role, version) in releases.signed_versions()? {
            let seen = versions.entry(role).or_default();
            *seen = version.max(*seen);
        }
        let (first_root, begins_with) = (releases.first_root().ok(), releases.begins_with()?);
        let now = Self { first_root, begins_with, versions };
        let write = || {
            let mut file = AtomicWriteFile::open(&place)?;
            file.write_all(&serde_json::to_vec_pretty(&now)?)?;
            anyhow::Ok(file.commit()?)
        };
        write().with_context(|| format!("what was seen cannot be kept in {}", place.display()))
    }
}

/// Gives a copy of a key what the key's holder has seen.
pub(in crate::commands) fn copy_seen(key: &Path, copy: &Path) -> anyhow::Result<()> {
    match fs::copy(place_of(key), place_of(copy)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("what was seen cannot be kept beside {}", copy.display()))
        }
        _ => Ok(()),
    }
}

fn place_of(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".seen");
    name.into()
}
