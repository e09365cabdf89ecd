//! Artefacts in the folder: packed into archives that go by their hash, and the manifests that describe them.

use crate::ReleaseError;
use crate::digest::sha256;
use crate::folder::open_file;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{TargetFile, Targets};
use crate::signed::SignedMetadata;
use crate::words;
use noderr_archive::{
    Index, NotTheArtefact, Packed, Unpacked, builder_in, check_artefact, check_builder, pack,
};
use noderr_protocol::HexDigest;
use noderr_protocol::release::{BUILDERS, Builders, MAX_MANIFEST, Manifest, object_file};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

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
        self.objects().join(object_file(sha256))
    }

    /// An archive, opened once for all that is to be read of it: what is put in its place meanwhile is not read.
    pub fn open_object(&self, sha256: &HexDigest) -> Result<File, ReleaseError> {
        let path = self.object(sha256);
        open_file(&path).map_err(|why| ReleaseError::Io { path, why })
    }

    /// Who may build artefacts, as the targets role will say.
    pub fn builders(&self) -> Result<Builders, ReleaseError> {
        let missing = || ReleaseError::Missing(BUILDERS.to_owned());
        let targets: SignedMetadata<Targets> = self.coming("targets")?.ok_or_else(missing)?;
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

    /// What a release is, in plain words.
    pub(crate) fn described(&self, name: &str, file: &TargetFile) -> String {
        let said = self.manifest(name, file).map(|manifest| words::described(&manifest));
        said.unwrap_or_else(words::unseen)
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

    pub(crate) fn pack(&self, artefact: &Path) -> Result<Packed, ReleaseError> {
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
        let file = folder::open_file(&path).map_err(|why| ReleaseError::Io { path: path.clone(), why })?;
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
