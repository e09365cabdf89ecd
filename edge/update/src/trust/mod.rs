//! What the network's release keys say, as far as this box has heard: TUF metadata, from the root that the box was given at its
//! enrolment to the newest that a server could show.

mod crypto;
mod error;
mod floor;
mod guard;
mod kept;
mod last_word;

pub use error::{Refusal, TrustError};

use floor::KeptFloor;
use guard::Guard;
use kept::{Failure, Kept};
use last_word::Remembered;
use noderr_part::read_file;
use serde::Deserialize;
use sigstore_tuf::{Error, TargetFile, TrustedMetadataSet, Updater, UpdaterConfig};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const KIB: u64 = 1024;

/// What a server may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a target that is read into memory.
    pub target_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target_bytes: 256 * 1024 }
    }
}

impl Limits {
    fn config(self) -> UpdaterConfig {
        let mut config = UpdaterConfig::default();
        config.target_max_length = self.target_bytes;
        (config.root_max_length, config.timestamp_max_length) = (256 * KIB, 16 * KIB);
        (config.snapshot_max_length, config.targets_max_length) = (256 * KIB, 1024 * KIB);
        config
    }
}

/// The metadata that this box trusts. Lives only while there is something to ask.
pub struct Trust {
    folder: PathBuf,
    updater: Updater,
    /// None where nobody is asked.
    floor: Option<KeptFloor>,
    failure: Failure,
    /// Whether the last refresh ended well: what it left behind otherwise is not to be believed.
    refreshed: bool,
    /// The roles that were found to have ended since then.
    ended: BTreeSet<String>,
}

/// A target that signed metadata names, at the time of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    name: String,
    file: TargetFile,
}

impl Target {
    /// Its name, such as `models/btc-oracle/1.4.0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub const fn length(&self) -> u64 {
        self.file.length
    }

    /// Whether these bytes are the target.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        bytes.len() as u64 == self.file.length && self.file.hashes.get("sha256") == Some(&hex)
    }
}

impl Trust {
    /// Opens what the box trusts already, in `folder`. `root` is the root that came with the image or the enrolment; later ones in the
    /// folder count as far as a chain of signatures leads to them.
    pub fn open(
        folder: &Path,
        root: &[u8],
        repository: impl sigstore_tuf::Repository + 'static,
        limits: Limits,
    ) -> Result<Self, TrustError> {
        crypto::install();
        let store = Kept::open(folder).map_err(TrustError::Disk)?;
        let failure = store.failure();
        let floor = KeptFloor::open(folder);
        let updater = Updater::new(Guard(repository), root)?.with_config(limits.config()).with_store(store);
        Ok(Self {
            folder: folder.to_owned(),
            updater,
            floor: Some(floor),
            failure,
            refreshed: false,
            ended: BTreeSet::new(),
        })
    }

    /// What was [kept](Self::keep_last_word) in `folder`, while nobody can be asked. Targets are the manifests of what is held in
    /// the folder `held`.
    pub(crate) fn of_last_word(
        folder: &Path,
        held: PathBuf,
        root: &[u8],
        limits: Limits,
    ) -> Result<Self, TrustError> {
        crypto::install();
        let (remembered, root) = Remembered::open(folder, held, root)?;
        let updater = Updater::new(remembered, &root)?.with_config(limits.config());
        let failure = Failure::default();
        Ok(Self {
            folder: folder.to_owned(),
            updater,
            floor: None,
            failure,
            refreshed: false,
            ended: BTreeSet::new(),
        })
    }

    /// What a refresh that did not end well has left behind is not to be believed.
    fn ensure_refreshed(&self) -> Result<(), TrustError> {
        let not_yet = || TrustError::Unreachable("nobody has said whether it is the newest".to_owned());
        if self.refreshed { Ok(()) } else { Err(not_yet()) }
    }

    /// Keeps what the metadata says now, after a [`refresh`](Self::refresh), and who may build, for when nobody can be asked. Returns whether it
    /// is kept: a role that has ended takes nothing away.
    pub(crate) fn keep_last_word(&self, builders: &[u8]) -> Result<bool, TrustError> {
        self.ensure_refreshed()?;
        last_word::keep(&self.folder, self.updater.trusted(), &self.ended, builders).map_err(TrustError::Disk)
    }

    /// Keeps who may build, as far as somebody was asked, and says who still might when somebody was asked last, where nobody is now.
    pub(crate) fn heard_of_builders(&self, builders: &[u8]) -> Result<Option<Vec<u8>>, TrustError> {
        let heard = match self.floor {
            Some(_) => last_word::keep_builders(&self.folder, builders).map(|()| None),
            None => last_word::newest_builders(&self.folder),
        };
        heard.map_err(TrustError::Disk)
    }

    /// Asks for the newest metadata. What comes is on the disk before this returns: what is forgotten could be rolled back.
    pub async fn refresh(&mut self, now: SystemTime) -> Result<(), TrustError> {
        self.refreshed = false;
        self.ended.clear();
        let refreshed = self.updater.refresh(timestamp(now)?).await;
        self.on_disk()?;
        refreshed?;
        if let Some(floor) = &mut self.floor {
            floor.raise(self.updater.trusted())?;
        }
        self.refreshed = true;
        Ok(())
    }

    /// Whether the last [`refresh`](Self::refresh) ended well.
    pub(crate) const fn is_refreshed(&self) -> bool {
        self.refreshed
    }

    /// The target of this name, after a [`refresh`](Self::refresh).
    pub async fn target(&mut self, name: &str, now: SystemTime) -> Result<Target, TrustError> {
        self.ensure_refreshed()?;
        let found = self.updater.get_target_info(name, timestamp(now)?).await;
        self.on_disk()?;
        if let Err(Error::Expired { role, .. }) = &found {
            self.ended.insert(role.clone());
        }
        let file = found?.ok_or_else(|| Refusal::NotNamed.because(format!("no release key names {name}")))?;
        Ok(Target { name: name.to_owned(), file })
    }

    /// A small target, whole and checked.
    pub async fn read(&self, target: &Target) -> Result<Vec<u8>, TrustError> {
        Ok(self.updater.download_target(&target.file, &target.name).await?)
    }

    /// Whether these bytes are the beacon of the newest timestamp, after a [`refresh`](Self::refresh).
    pub(crate) fn names_beacon(&self, bytes: &[u8]) -> bool {
        let timestamp =
            read_file(&self.folder.join("timestamp.json"), kept::LARGEST).ok().filter(|_| self.refreshed);
        let named = timestamp.and_then(|timestamp| serde_json::from_slice::<WithBeacon>(&timestamp).ok());
        let file = named.and_then(|named| named.signed.beacon);
        file.is_some_and(|file| Target { name: String::new(), file }.is(bytes))
    }

    /// The version of the newest root.
    pub fn root_version(&self) -> u64 {
        self.updater.trusted().root().version
    }

    fn on_disk(&self) -> Result<(), TrustError> {
        self.failure.first().map_or(Ok(()), |error| Err(TrustError::Disk(error)))
    }
}

/// What a timestamp says beside what the TUF client reads of it.
#[derive(Deserialize)]
struct WithBeacon {
    signed: SaysBeacon,
}

#[derive(Deserialize)]
struct SaysBeacon {
    beacon: Option<TargetFile>,
}

/// Whether these bytes are a root that enough of its own keys have signed.
pub fn check_root(root: &[u8]) -> Result<(), TrustError> {
    crypto::install();
    TrustedMetadataSet::from_root(root)?;
    Ok(())
}

fn timestamp(now: SystemTime) -> Result<jiff::Timestamp, TrustError> {
    now.try_into().map_err(|error: jiff::Error| Refusal::Malformed.because(error.to_string()))
}
