//! Artefacts in the folder: packed into archives that go by their hash, and the manifests that describe them.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{TargetFile, Targets, sha256};
use crate::shelves::shelf_of;
use crate::words;
use noderr_archive::{Index, NotTheArtefact, Packed, check_artefact, pack};
use noderr_protocol::HexDigest;
use noderr_protocol::release::{BUILDERS, Builders, MAX_MANIFEST, Manifest, ReleaseName};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
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
        let file = targets.says().targets.get(BUILDERS).ok_or_else(missing)?;
        let (path, bytes) = self.small_target(BUILDERS, file)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ReleaseError::Unreadable { path, why: error.to_string() })
    }

    /// The manifest behind a target.
    pub fn manifest(&self, name: &str, file: &TargetFile) -> Result<Manifest, ReleaseError> {
        let (path, bytes) = self.small_target(name, file)?;
        let manifest = Manifest::read(&bytes).map_err(|error| error.to_string()).and_then(|manifest| {
            let is_of_name = manifest.release.to_string() == name;
            if is_of_name { Ok(manifest) } else { Err(format!("it is of {}", manifest.release)) }
        });
        manifest.map_err(|why| ReleaseError::Unreadable { path, why })
    }

    /// What is behind a target, in plain words.
    pub(crate) fn described(&self, name: &str, file: &TargetFile) -> String {
        let said = if name == BUILDERS {
            self.small_target(name, file).map(|(_, bytes)| match serde_json::from_slice(&bytes) {
                Ok(Builders { keys }) => format!("whoever has one of {}", keys.join(", ")),
                Err(_) => "nobody, for it is malformed".to_owned(),
            })
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
        if says.targets.contains_key(&name) {
            return Err(ReleaseError::Released(name));
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
        check_artefact(source, &content, &builders, &new.minisig)
            .map_err(|why| ReleaseError::NotTheArtefact { path: artefact.to_owned(), why })?;
        let mut manifest = Manifest::new(new.name, content, archive, new.minisig);
        (new.says)(&mut manifest);
        let bytes = manifest.to_bytes().map_err(|error| ReleaseError::Unwritable(error.to_string()))?;
        says.targets.insert(name.clone(), self.put_target(&name, &bytes)?);
        self.put_draft(&role, &Draft::new(says))?;
        Ok(manifest)
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

    /// Unpacks the artefact of a release into a file, and holds all of it against what was signed.
    pub fn unpack(&self, manifest: &Manifest, into: &Path) -> Result<(), ReleaseError> {
        let path = self.object(&manifest.archive.sha256);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |why| ReleaseError::Io { path, why }
        };
        let mut archive = File::open(&path).map_err(failed(&path))?;
        let mut index = vec![0; usize::try_from(manifest.archive.index_bytes).unwrap_or(usize::MAX)];
        archive.read_exact(&mut index).map_err(failed(&path))?;
        let wrong = |why: String| ReleaseError::Unreadable { path: path.clone(), why };
        let index = Index::read(&index, &manifest.content, &manifest.archive)
            .map_err(|error| wrong(error.to_string()))?;
        let file = File::options().read(true).write(true).create_new(true).open(into);
        let mut file = file.map_err(failed(into))?;
        let mut packed = Vec::new();
        for (_, number) in index.places() {
            let chunk = &index.chunks()[number];
            packed.resize(chunk.packed as usize, 0);
            archive.seek(SeekFrom::Start(chunk.offset)).map_err(failed(&path))?;
            archive.read_exact(&mut packed).map_err(failed(&path))?;
            let opened = index.open(chunk, &packed).map_err(|error| wrong(error.to_string()))?;
            file.write_all(&opened).map_err(failed(into))?;
        }
        file.sync_all().and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed(into))?;
        check_artefact(file, &manifest.content, &self.builders()?, &manifest.minisig).map_err(|why| match why
        {
            NotTheArtefact::Io(why) => ReleaseError::Io { path: into.to_owned(), why },
            why => ReleaseError::NotTheArtefact { path: into.to_owned(), why },
        })
    }
}
