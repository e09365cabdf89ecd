//! The manifest: what a release is, how large it is, and on which boxes it runs. A small target of the signed metadata, JSON;
//! the artefact that it describes is fetched in chunks. Both sides read manifests here, and refuse one that does not mean
//! what it seems to mean.

use super::name::{ReleaseName, Series, Tier, Word};
use crate::HexDigest;
use semver::Version;
use serde::{Deserialize, Serialize};

/// The largest manifest that is read.
pub const MAX_MANIFEST: usize = 32 * 1024;
/// The largest index of chunks that a box takes into memory.
pub const MAX_INDEX: u64 = 4 << 20;
/// The target that names the keys of those who build artefacts.
pub const BUILDERS: &str = "builders.json";

/// The format of manifests that is written.
const FORMAT: u32 = 1;
/// The most entries of a list.
const LONGEST: usize = 64;

/// What a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The name of the release.
    pub release: ReleaseName,
    /// Raised by a release that mends what must never run again.
    #[serde(default)]
    pub security_epoch: u32,
    /// Words for hardware that the release runs on; an empty list means any.
    #[serde(default)]
    pub hardware: Vec<Word>,
    /// Tiers that the release is meant for; an empty list means all.
    #[serde(default)]
    pub tiers: Vec<Word>,
    /// Other releases that the node must hold first.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// The artefact, as it was built.
    pub content: Content,
    /// How the artefact travels.
    pub archive: Archive,
    /// The signature of whoever built the artefact, as `minisign` writes it.
    pub minisig: String,
}

/// Another release that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The kind and the name of the other release.
    pub series: Series,
    /// The lowest version that is enough.
    pub at_least: Version,
}

/// The artefact itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Bytes of the artefact.
    pub bytes: u64,
    /// SHA-256 of the artefact.
    pub sha256: HexDigest,
}

/// The artefact in compressed chunks, behind an index of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Bytes of the archive, with the index.
    pub bytes: u64,
    /// SHA-256 of the archive, which is its name.
    pub sha256: HexDigest,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// The SHA-256 of the index, which has the hash of every chunk.
    pub index_sha256: HexDigest,
}

/// Who may build artefacts: the keys of `minisign`, as it writes them in one line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Builders {
    /// Public keys.
    pub keys: Vec<String>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of this shape.
    #[error("the manifest is malformed: {0}")]
    Malformed(String),
    /// Of a later format than this build knows.
    #[error("the manifest is of format {0}, and this build reads {FORMAT}")]
    Format(u32),
    /// It says what cannot be.
    #[error("the manifest says what cannot be: {0}")]
    Unsound(&'static str),
}

impl Manifest {
    /// A manifest of a release that runs anywhere and requires nothing.
    pub const fn new(release: ReleaseName, content: Content, archive: Archive, minisig: String) -> Self {
        Self {
            format: FORMAT,
            release,
            security_epoch: 0,
            hardware: Vec::new(),
            tiers: Vec::new(),
            requires: Vec::new(),
            content,
            archive,
            minisig,
        }
    }

    /// Reads a manifest, and refuses one that does not hold together.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        if bytes.len() > MAX_MANIFEST {
            return Err(ManifestError::Malformed(format!("{} bytes", bytes.len())));
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes of the manifest.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|error| ManifestError::Malformed(error.to_string()))
    }

    fn check(&self) -> Result<(), ManifestError> {
        let Archive { bytes, index_bytes, .. } = self.archive;
        let lists = [self.hardware.len(), self.tiers.len(), self.requires.len()];
        for (sound, what) in [
            (self.content.bytes > 0, "the artefact is empty"),
            (index_bytes > 0 && index_bytes <= bytes, "the index is longer than the archive, or empty"),
            (index_bytes <= MAX_INDEX, "the index is larger than a box can hold"),
            (lists.iter().all(|len| *len <= LONGEST), "a list is longer than any that is meant"),
            (self.minisig.len() <= 2048, "the builder's signature is longer than 2048 bytes"),
        ] {
            if !sound {
                return Err(ManifestError::Unsound(what));
            }
        }
        Ok(())
    }

    /// Whether it runs on this hardware.
    pub fn runs_on(&self, hardware: &str) -> bool {
        self.hardware.is_empty() || self.hardware.iter().any(|word| word.as_str() == hardware)
    }

    /// Whether it is meant for nodes of this tier.
    pub fn is_for(&self, tier: Option<Tier>) -> bool {
        let is_named = |tier: Tier| self.tiers.iter().any(|word| word.as_str() == tier.name());
        self.tiers.is_empty() || tier.is_some_and(is_named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let digest = HexDigest([7; 32]);
        Manifest::new(
            "os/generic/1.2.0-rc.1".parse().unwrap(),
            Content { bytes: 9, sha256: digest },
            Archive { bytes: 90, sha256: digest, index_bytes: 80, index_sha256: digest },
            "untrusted comment: x".to_owned(),
        )
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_one_that_cannot_be_is_refused() {
        let honest = manifest();
        assert_eq!(Manifest::read(&honest.to_bytes().unwrap()), Ok(honest.clone()));
        type Lie = fn(&mut Manifest);
        let wrong: [(&str, Lie); 5] = [
            ("empty", |manifest| manifest.content.bytes = 0),
            ("longer than the archive", |manifest| manifest.archive.index_bytes = 91),
            ("larger than a box", |manifest| {
                (manifest.archive.bytes, manifest.archive.index_bytes) = (u64::MAX, MAX_INDEX + 1);
            }),
            ("longer than any", |manifest| manifest.tiers = vec!["x".parse().unwrap(); 65]),
            ("format 2", |manifest| manifest.format = 2),
        ];
        for (why, lie) in wrong {
            let mut manifest = honest.clone();
            lie(&mut manifest);
            let error = Manifest::read(&serde_json::to_vec(&manifest).unwrap()).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
        let later = String::from_utf8(honest.to_bytes().unwrap()).unwrap().replacen('{', "{\"later\":1,", 1);
        assert_eq!(Manifest::read(later.as_bytes()), Ok(honest), "what later builds add is passed over");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_the_same(bytes: Vec<u8>, cut in 0_usize..500, with: u8) {
            drop(Manifest::read(&bytes));
            let mut near = manifest().to_bytes().unwrap();
            let at = cut % near.len();
            near[at] = with;
            if let Ok(read) = Manifest::read(&near) {
                prop_assert_eq!(Manifest::read(&read.to_bytes().unwrap()), Ok(read));
            }
        }
    }
}
