//! An artefact that is coming: a file of its full length, into which verified chunks are put one by one. Which of them are
//! there, the file itself says: a start after a power cut reads it, and asks for what it lacks.

use super::{
    ARTEFACT, INDEX, MANIFEST, MINISIG, ManifestFile, Store, StoreError, Stored, VerifiedArtefact, at,
    remove, sync, write,
};
use noderr_archive::{Index, NotTheArtefact, NotTheChunk};
use noderr_part::{open_file, open_or_create_file, own_folder, read_file};
use noderr_protocol::release::Builders;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many bytes may come before the disk is told to keep them: after a power cut they come again.
const UNSYNCED: u64 = 8 << 20;
/// The longest range that is asked for at once.
const LONGEST: u64 = 1 << 20;

/// An artefact that is coming.
pub struct Coming {
    folder: PathBuf,
    signed: ManifestFile,
    index: Index,
    file: File,
    /// Where each chunk stands in the artefact, in the order of the chunks in the archive.
    places: Vec<Vec<u64>>,
    there: Mutex<Vec<bool>>,
    unsynced: AtomicU64,
}

/// Chunks that are lacking and stand one behind the other in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Their numbers.
    pub chunks: Range<usize>,
    /// Their bytes in the archive.
    pub bytes: Range<u64>,
}

/// Why a chunk is not put where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It is not the chunk.
    #[error(transparent)]
    NotTheChunk(#[from] NotTheChunk),
    /// The disk refuses, or is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What would be lacking of an artefact if all that is here already were taken: requests for it, and bytes in the archive.
pub(crate) fn lacking(
    signed: &ManifestFile,
    index: &[u8],
    begun: Option<&Path>,
    seeds: &[Stored],
) -> Result<(usize, u64), StoreError> {
    let index = Index::read(index, &signed.manifest.content, &signed.manifest.archive)?;
    let mut there = vec![false; index.chunks().len()];
    let begun = begun.and_then(|path| open_file(path).ok());
    for file in begun.into_iter().chain(seeds.iter().filter_map(|seed| seed.file().ok())) {
        // What was begun may have been made longer by somebody else.
        let file = file.take(signed.manifest.content.bytes);
        for piece in index.cut(BufReader::new(file)).map_while(Result::ok) {
            if let Some(number) = index.number_of(&piece) {
                there[number] = true;
            }
        }
    }
    let gaps = gaps(&index, &there);
    Ok((gaps.len(), gaps.iter().map(|gap| gap.bytes.end - gap.bytes.start).sum()))
}

/// Chunks that are not there, in ranges that are asked for at once.
fn gaps(index: &Index, there: &[bool]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for (number, chunk) in index.chunks().iter().enumerate().filter(|(number, _)| !there[*number]) {
        let end = chunk.offset + u64::from(chunk.packed);
        match gaps.last_mut() {
            Some(gap) if gap.chunks.end == number && end - gap.bytes.start <= LONGEST => {
                (gap.chunks.end, gap.bytes.end) = (number + 1, end);
            }
            _ => gaps.push(Gap { chunks: number..number + 1, bytes: chunk.offset..end }),
        }
    }
    gaps
}

impl Store {
    /// Where what has come of an artefact lies, or what is damaged of it.
    pub fn begun(&self, signed: &ManifestFile) -> Option<PathBuf> {
        let places =
            [self.coming_folder(), self.held_folder()].map(|root| root.join(signed.key()).join(ARTEFACT));
        places.into_iter().find(|place| place.exists())
    }

    /// What of it has room on the disk already.
    pub(crate) fn begun_bytes(&self, signed: &ManifestFile) -> u64 {
        let begun = self.begun(signed).and_then(|place| fs::symlink_metadata(place).ok());
        begun.map_or(0, |begun| begun.blocks() * 512)
    }

    /// The index of an artefact that is coming, if it has come already.
    pub fn index(&self, signed: &ManifestFile) -> Option<Vec<u8>> {
        let places =
            [self.coming_folder(), self.held_folder()].map(|root| root.join(signed.key()).join(INDEX));
        let most = signed.manifest.archive.index_bytes;
        places.iter().filter_map(|place| read_file(place, most).ok()).find(|bytes| signed.has_index(bytes))
    }

    /// Begins an artefact, or goes on with it. Room for all of it is taken at once, so that the disk is not found full in the
    /// middle. What has come before is found again.
    pub fn begin(&self, signed: ManifestFile, index: &[u8]) -> Result<Coming, StoreError> {
        let folder = self.coming_folder().join(signed.key());
        if !signed.has_index(index) {
            return Err(NotTheArtefact::Mismatched.into());
        }
        let read = Index::read(index, &signed.manifest.content, &signed.manifest.archive)?;
        own_folder(&self.coming_folder()).map_err(at(&folder))?;
        // What was held and is damaged comes again, where it is damaged.
        let held = self.held_folder().join(signed.key());
        if fs::exists(&held).unwrap_or(false) && !fs::exists(&folder).unwrap_or(false) {
            fs::rename(&held, &folder).map_err(at(&held))?;
        }
        let path = folder.join(ARTEFACT);
        // Whoever has laid a link or a pipe there wants bytes to go elsewhere, or nowhere.
        let is_ours = |path: &Path, is: fn(&Metadata) -> bool| {
            fs::symlink_metadata(path).map_or_else(|error| error.kind() == ErrorKind::NotFound, |it| is(&it))
        };
        if !is_ours(&folder, Metadata::is_dir) || !is_ours(&path, Metadata::is_file) {
            remove(&folder)?;
        }
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        write(&folder.join(INDEX), index)?;
        // Says whose it is, to whoever makes room meanwhile.
        write(&folder.join(MANIFEST), &signed.bytes)?;
        let file = open_or_create_file(&path).map_err(at(&path))?;
        let is_new = file.metadata().map_err(at(&path))?.len() == 0;
        if let Err(why) = take_room(&file, signed.manifest.content.bytes) {
            // What was taken before the disk was full is given back: others live on the disk too.
            if is_new {
                remove(&folder)?;
            }
            return Err(at(&path)(why));
        }
        let mut places = vec![Vec::new(); read.chunks().len()];
        for (offset, number) in read.places() {
            places[number].push(offset);
        }
        let there = Mutex::new(vec![false; read.chunks().len()]);
        let coming = Coming { folder, signed, index: read, file, places, there, unsynced: AtomicU64::new(0) };
        if !is_new {
            coming.look();
        }
        Ok(coming)
    }
}

/// Gives a file its full length, and takes the room for it where the file system can.
fn take_room(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Coming {
    /// Finds out which chunks are there already.
    fn look(&self) {
        let mut buffer = Vec::new();
        for number in 0..self.places.len() {
            if self.reads(number, &mut buffer) {
                self.is_there(number);
            }
        }
    }

    /// Whether a chunk stands wherever it belongs. What the disk does not give back does not.
    fn reads(&self, number: usize, buffer: &mut Vec<u8>) -> bool {
        let chunk = &self.index.chunks()[number];
        buffer.resize(chunk.length as usize, 0);
        let mut is_at =
            |place: &u64| self.file.read_exact_at(buffer, *place).is_ok() && self.index.is(chunk, buffer);
        self.places[number].iter().all(&mut is_at)
    }

    /// Whether the disk has lost what was written to it.
    fn has_lost_some(&self) -> bool {
        let mut buffer = Vec::new();
        (0..self.places.len()).any(|number| !self.reads(number, &mut buffer))
    }

    /// Takes what is right of it to other blocks of the disk. Where there is no room for that, all of it comes again.
    fn move_elsewhere(&self) -> io::Result<()> {
        let (path, new) = (self.folder.join(ARTEFACT), self.folder.join("artefact.new"));
        let moved = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = File::create_new(&new)?;
            file.set_len(self.signed.manifest.content.bytes)?;
            let mut buffer = Vec::new();
            for (number, places) in self.places.iter().enumerate() {
                if self.reads(number, &mut buffer) {
                    places.iter().try_for_each(|place| file.write_all_at(&buffer, *place))?;
                }
            }
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        moved().or_else(|error| {
            tracing::warn!(%error, "what has come cannot be moved to other blocks of the disk: all of it comes again");
            fs::remove_file(&new).and_then(|()| fs::remove_file(&path))
        })
    }

    fn is_there(&self, number: usize) {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)[number] = true;
    }

    fn lacks(&self, number: usize) -> bool {
        !self.there.lock().unwrap_or_else(PoisonError::into_inner)[number]
    }

    /// What is coming.
    pub const fn signed(&self) -> &ManifestFile {
        &self.signed
    }

    /// Takes what other bytes have in common with the artefact, such as a version that was held before.
    pub fn seed(&self, source: impl Read + Unpin + Send) -> Result<(), PutError> {
        for piece in self.index.cut(source) {
            // A seed that cannot be read any further is as good as one that ends.
            let Ok(piece) = piece else { return Ok(()) };
            if let Some(number) = self.index.number_of(&piece).filter(|number| self.lacks(*number)) {
                self.write(number, &piece.bytes)?;
            }
        }
        Ok(())
    }

    /// Takes what a held release has in common with the artefact.
    pub fn seed_from(&self, held: &Stored) -> Result<(), PutError> {
        match held.file() {
            Ok(file) => self.seed(BufReader::new(file)),
            Err(_) => Ok(()),
        }
    }

    /// What is lacking, in ranges that are asked for at once.
    pub fn gaps(&self) -> Vec<Gap> {
        gaps(&self.index, &self.there.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The length of a chunk in the archive.
    pub fn packed(&self, number: usize) -> usize {
        self.index.chunks()[number].packed as usize
    }

    /// Puts a chunk, as it came, where it belongs.
    pub fn put(&self, number: usize, packed: &[u8]) -> Result<(), PutError> {
        let opened = self.index.open(&self.index.chunks()[number], packed)?;
        self.write(number, &opened)
    }

    fn write(&self, number: usize, bytes: &[u8]) -> Result<(), PutError> {
        let path = || self.folder.join(ARTEFACT);
        for place in &self.places[number] {
            self.file.write_all_at(bytes, *place).map_err(at(&path()))?;
        }
        let written = bytes.len() as u64 * self.places[number].len() as u64;
        if self.unsynced.fetch_add(written, Ordering::Relaxed) + written >= UNSYNCED {
            self.unsynced.store(0, Ordering::Relaxed);
            self.file.sync_data().map_err(at(&path()))?;
        }
        self.is_there(number);
        Ok(())
    }

    /// Checks all of it: it is what was signed, and one of these builders has built it.
    pub fn check(self, builders: &Builders) -> Result<Checked, StoreError> {
        let path = self.folder.join(ARTEFACT);
        self.file.sync_all().map_err(at(&path))?;
        let ManifestFile { manifest, bytes } = &self.signed;
        for (name, bytes) in [(MANIFEST, &bytes[..]), (MINISIG, manifest.minisig.as_bytes())] {
            write(&self.folder.join(name), bytes)?;
        }
        sync(&self.folder)?;
        let read = Stored::read(&self.folder).map_err(at(&self.folder))?;
        let there = read.ok_or_else(|| StoreError::Lost(self.folder.clone()))?;
        let checked = there.open(builders);
        if let Err(StoreError::Artefact(why)) = &checked {
            if self.has_lost_some() {
                // The same blocks would lose it again.
                self.move_elsewhere().map_err(at(&path))?;
                return Err(StoreError::Lost(path));
            }
            if matches!(why, NotTheArtefact::Io(_)) {
                return Ok(Checked { there, artefact: checked? });
            }
            // Every chunk is right, and the whole is not: nothing that comes again would mend that.
            remove(&self.folder)?;
        }
        Ok(Checked { there, artefact: checked? })
    }
}

/// An artefact that has come and was checked, and is not held yet.
pub struct Checked {
    there: Stored,
    artefact: VerifiedArtefact,
}

impl Checked {
    /// Holds it from now on.
    pub fn hold(self, store: &Store) -> Result<(Stored, VerifiedArtefact), StoreError> {
        let folder = store.held_folder().join(self.there.says.key());
        own_folder(&store.held_folder()).map_err(at(&folder))?;
        // What lies there is damaged, or the same.
        remove(&folder)?;
        fs::rename(&self.there.folder, &folder).map_err(at(&folder))?;
        sync(&store.held_folder())?;
        let artefact = self.artefact.moved_to(&folder);
        Ok((Stored { folder, ..self.there }, artefact))
    }
}
