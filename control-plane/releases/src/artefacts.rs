//! Artefacts in the folder: packed into archives that go by their hash, and the manifests that describe them.

use crate::ReleaseError;
use crate::digest::sha256;
use crate::draft::Draft;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{TargetFile, Targets};
use crate::shelves::shelf_of;
use crate::words;
use noderr_archive::{
    Index, NotTheArtefact, Packed, Unpacked, builder_in, check_artefact, check_builder, pack,
};
use noderr_protocol::HexDigest;
use noderr_protocol::release::{BUILDERS, Builders, MAX_MANIFEST, Manifest, ReleaseName};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// A release that is to be added, beside what its artefact says of itself.
pub struct NewRelease {
    /// What it will be called.
    pub name: ReleaseName,
    /// The signature of the builder, as `minisign` writes it.
    pub minisig: String,
    /// Whether a version below the newest is meant.
    pub may_be_older: bool,
    /// What it says beside what its artefact says.
    pub says: Box<dyn FnOnce(&mut Manifest)>,
}

/// Reads the index of an archive, if these bytes are the one that was signed, and a box can fetch the artefact with it.
pub fn check_index(manifest: &Manifest, index: &[u8]) -> Result<Index, String> {
    let Manifest { content, archive, .. } = manifest;
    if sha256(index) != hex::encode(archive.index_sha256.0) {
        return Err("the archive begins with another index than the one that was signed".to_owned());
    }
    Index::read(index, content, archive).map_err(|error| error.to_string())
}

impl ReleaseFolder {
    /// Where archives are, each under its SHA-256.
    pub fn objects(&self) -> PathBuf {
        self.root().join("objects")
    }

    /// Where the archive of this SHA-256 is.
    pub fn object(&self, sha256: &HexDigest) -> PathBuf {
        self.objects().join(hex::encode(sha256.0))
    }

    /// Who may build artefacts, as the targets role will say.
    pub fn builders(&self) -> Result<Builders, ReleaseError> {
        let missing = || ReleaseError::Missing(BUILDERS.to_owned());
        let targets: Draft<Targets> = self.coming("targets")?.ok_or_else(missing)?;
        self.builders_of(targets.says().targets.get(BUILDERS).ok_or_else(missing)?)
    }

    pub(crate) fn builders_of(&self, file: &TargetFile) -> Result<Builders, ReleaseError> {
        let (path, bytes) = self.small_target(BUILDERS, file)?;
        let builders: Builders = match serde_json::from_slice(&bytes) {
            Ok(builders) => builders,
            Err(error) => return Err(ReleaseError::Unreadable { path, why: error.to_string() }),
        };
        // Whoever holds the stick may have written anything between the keys.
        if builders.keys.iter().any(|key| builder_in(key).as_ref() != Some(key)) {
            let why = "a builder's key is none as `minisign` writes keys".to_owned();
            return Err(ReleaseError::Unreadable { path, why });
        }
        Ok(builders)
    }

    /// The manifest behind a target.
    pub fn manifest(&self, name: &str, file: &TargetFile) -> Result<Manifest, ReleaseError> {
        let (path, bytes) = self.small_target(name, file)?;
        let manifest = Manifest::read(&bytes).map_err(|error| error.to_string()).and_then(|manifest| {
            if manifest.release.to_string() != name {
                return Err(format!("it is of {}", manifest.release));
            }
            // A later node may obey what this tool does not show.
            let written: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            let read = serde_json::to_value(&manifest).map_err(|error| error.to_string())?;
            if says_no_more(&written, &read) {
                Ok(manifest)
            } else {
                Err("it says more than is understood".to_owned())
            }
        });
        manifest.map_err(|why| ReleaseError::Unreadable { path, why })
    }

    /// Whether what a role names is what boxes will take, as far as can be said without the artefacts.
    pub(crate) fn check_named(
        &self,
        name: &str,
        file: &TargetFile,
        builders: &Builders,
    ) -> Result<(), ReleaseError> {
        if name == BUILDERS {
            return self.builders_of(file).map(drop);
        }
        let not_built = |error: NotTheArtefact| ReleaseError::NotBuilt(name.to_owned(), error.to_string());
        check_builder(&self.manifest(name, file)?, builders).map_err(not_built)
    }

    /// What is behind a target, in plain words.
    pub(crate) fn described(&self, name: &str, file: &TargetFile) -> String {
        let said = if name == BUILDERS {
            self.builders_of(file).map(|Builders { keys }| format!("whoever has one of {}", keys.join(", ")))
        } else {
            self.manifest(name, file).map(|manifest| words::described(&manifest))
        };
        said.unwrap_or_else(|error| format!("WHAT IT IS CANNOT BE SEEN: {error}"))
    }

    /// The bytes of a target that was signed.
    pub fn small_target(&self, name: &str, file: &TargetFile) -> Result<(PathBuf, Vec<u8>), ReleaseError> {
        let hash = file.hashes.get("sha256").map_or("", String::as_str);
        let path = self.place_of(name, hash);
        let read = folder::read_bytes(&path).and_then(|bytes| bytes.ok_or(io::ErrorKind::NotFound.into()));
        let bytes = read.map_err(|why| ReleaseError::Io { path: path.clone(), why })?;
        let is_signed = bytes.len() as u64 == file.length && sha256(&bytes) == hash;
        if !is_signed || bytes.len() > MAX_MANIFEST {
            return Err(ReleaseError::Unreadable {
                path,
                why: format!("it is not what was signed as {name}"),
            });
        }
        Ok((path, bytes))
    }

    /// Packs an artefact, and prepares its release for those who sign.
    pub fn add(&self, artefact: &Path, new: NewRelease) -> Result<Manifest, ReleaseError> {
        let (name, role) = (new.name.to_string(), shelf_of(&new.name));
        let mut says = self.next(&role)?;
        if self.was_named(&role, &name)? {
            return Err(ReleaseError::Released(name));
        }
        if says.targets.contains_key(&name) {
            return Err(ReleaseError::Prepared(name));
        }
        if let Some(newest) = self.newest_of(&new.name)?.filter(|newest| *newest >= new.name.version)
            && !new.may_be_older
        {
            return Err(ReleaseError::GoesBack { release: name, newest: newest.to_string() });
        }
        let io = |why| ReleaseError::Io { path: artefact.to_owned(), why };
        let builders = self.builders()?;
        let Packed { content, archive } = self.pack(artefact)?;
        let source = File::open(artefact).map_err(io)?;
        let mut manifest = Manifest::new(new.name, content, archive, new.minisig);
        check_artefact(source, &manifest, &builders)
            .map_err(|why| ReleaseError::NotTheArtefact { path: artefact.to_owned(), why })?;
        (new.says)(&mut manifest);
        self.check_epoch(&manifest)?;
        let bytes = manifest.to_bytes().map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        says.targets.insert(name.clone(), self.put_target(&name, &bytes)?);
        self.put_draft(&role, &Draft::new(says))?;
        Ok(manifest)
    }

    /// Whether a role has ever named a target: what was withdrawn does not come back as something else.
    fn was_named(&self, role: &str, name: &str) -> Result<bool, ReleaseError> {
        for version in 1..=self.newest_version(role)?.unwrap_or_default() {
            let published = self.published::<Targets>(role, version)?;
            if published.is_some_and(|published| published.says().targets.contains_key(name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next version of a role that names targets, without signatures: its draft, or one that begins with what is
    /// published.
    pub fn next(&self, role: &str) -> Result<Targets, ReleaseError> {
        let coming = self.coming::<Targets>(role)?.ok_or_else(|| ReleaseError::Missing(role.to_owned()))?;
        let mut says = coming.says().clone();
        says.version = self.newest_version(role)?.unwrap_or_default() + 1;
        Ok(says)
    }

    /// Every release that is or will be named, with its target.
    pub fn releases(&self) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        self.named(|role| self.coming(role))
    }

    /// Every release that is named by what is published.
    pub fn published_releases(&self) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        self.named(|role| self.newest(role))
    }

    /// Every target that is named by what is published, also those that are no releases.
    pub fn named_targets(&self) -> Result<Vec<(String, TargetFile)>, ReleaseError> {
        let mut all = Vec::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let Some(targets) = self.newest::<Targets>(&role)? else { continue };
            all.extend(targets.says().targets.clone());
        }
        Ok(all)
    }

    fn named(
        &self,
        says: impl Fn(&str) -> Result<Option<Draft<Targets>>, ReleaseError>,
    ) -> Result<Vec<(ReleaseName, TargetFile)>, ReleaseError> {
        let mut all = Vec::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let Some(targets) = says(&role)? else { continue };
            let named = targets.says().targets.iter();
            all.extend(named.filter_map(|(name, file)| Some((name.parse().ok()?, file.clone()))));
        }
        all.sort_by_key(|(name, _): &(ReleaseName, _)| (name.series.to_string(), name.version.clone()));
        Ok(all)
    }

    /// The SHA-256 of the network's first root, by which people tell networks apart.
    pub fn first_root(&self) -> Result<String, ReleaseError> {
        let first = self.bytes("root", 1)?;
        Ok(sha256(&first.ok_or_else(|| ReleaseError::Missing("root".to_owned()))?))
    }

    /// The newest version of the same kind and name.
    fn newest_of(&self, release: &ReleaseName) -> Result<Option<semver::Version>, ReleaseError> {
        let same = self.releases()?.into_iter().filter(|(name, _)| name.series == release.series);
        Ok(same.map(|(name, _)| name.version).max())
    }

    /// Boxes that hold what has a greater epoch would not take it.
    fn check_epoch(&self, manifest: &Manifest) -> Result<(), ReleaseError> {
        let (this, epoch) = (&manifest.release, manifest.security_epoch);
        for other in self.ever_named(this)? {
            let (is_older, before) = (other.release.version < this.version, other.security_epoch);
            if (is_older && before > epoch) || (!is_older && before < epoch) {
                let before = format!("{} has {before}", other.release);
                return Err(ReleaseError::Epoch { release: this.to_string(), epoch, before });
            }
        }
        Ok(())
    }

    /// The manifests of all releases of a name that were ever published or are prepared: boxes may hold those that are withdrawn.
    fn ever_named(&self, release: &ReleaseName) -> Result<Vec<Manifest>, ReleaseError> {
        let mut named: BTreeMap<String, TargetFile> = BTreeMap::new();
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            let drafts = self.draft::<Targets>(&role)?.into_iter();
            let mut all: Vec<_> = drafts.collect();
            for version in 1..=self.newest_version(&role)?.unwrap_or_default() {
                all.extend(self.published::<Targets>(&role, version)?);
            }
            for says in all {
                named.extend(says.says().targets.clone());
            }
        }
        let is_of_series =
            |name: &str| name.parse::<ReleaseName>().is_ok_and(|other| other.series == release.series);
        let of_series = named.iter().filter(|(name, _)| is_of_series(name));
        // What was withdrawn long ago may not be in this copy of the folder any more.
        let manifests = of_series.map(|(name, target)| match self.manifest(name, target) {
            Err(ReleaseError::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            manifest => manifest.map(Some),
        });
        manifests.filter_map(Result::transpose).collect()
    }

    fn pack(&self, artefact: &Path) -> Result<Packed, ReleaseError> {
        let folder = self.objects();
        let packed = || {
            fs::create_dir_all(&folder)?;
            let source = File::open(artefact)?;
            let length = source.metadata()?.len();
            if length == 0 {
                return Err(io::Error::other("it is empty, or no file"));
            }
            let (chunks_path, mut chunks) = folder::begin(&folder)?;
            // It needs no name: nobody finds it again after a power cut either.
            fs::remove_file(chunks_path)?;
            let (unfinished, file) = folder::begin(&folder)?;
            let packed = pack(source, length, &mut chunks, BufWriter::new(&file)).and_then(|packed| {
                file.sync_all()?;
                fs::rename(&unfinished, self.object(&packed.archive.sha256))?;
                folder::sync(&folder)?;
                Ok(packed)
            });
            if packed.is_err() {
                fs::remove_file(&unfinished)?;
            }
            packed
        };
        packed().map_err(|why| ReleaseError::Io { path: artefact.to_owned(), why })
    }

    /// Whether an archive unpacks to the artefact that was signed and built.
    pub(crate) fn check_content(&self, manifest: &Manifest) -> Result<(), ReleaseError> {
        let path = self.object(&manifest.archive.sha256);
        let unpacked = self.unpacked(manifest)?;
        check_artefact(unpacked, manifest, &self.builders()?)
            .map_err(|why| ReleaseError::NotTheArtefact { path, why })
    }

    fn unpacked(&self, manifest: &Manifest) -> Result<Unpacked<File>, ReleaseError> {
        let path = self.object(&manifest.archive.sha256);
        let file = File::open(&path).map_err(|why| ReleaseError::Io { path: path.clone(), why })?;
        Unpacked::new(file, manifest)
            .map_err(|error| ReleaseError::Unreadable { path, why: error.to_string() })
    }

    /// Unpacks the artefact of a release into a file, which is there when all of it is what was signed and built.
    pub fn unpack(&self, manifest: &Manifest, into: &Path) -> Result<(), ReleaseError> {
        self.check_content(manifest)?;
        let mut unpacked = self.unpacked(manifest)?;
        let mut write = || {
            let mut file = File::options().write(true).create_new(true).open(into)?;
            io::copy(&mut unpacked, &mut file)?;
            file.sync_all()
        };
        write().map_err(|why| ReleaseError::Io { path: into.to_owned(), why })
    }
}

/// Whether everything that was written was read: what was not written has its usual value.
fn says_no_more(written: &Value, read: &Value) -> bool {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().all(|(name, value)| read.get(name).is_some_and(|read| says_no_more(value, read)))
        }
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len()
                && written.iter().zip(read).all(|(one, other)| says_no_more(one, other))
        }
        (written, read) => written == read,
    }
}
