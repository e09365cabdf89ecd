//! Small documents of the data folder: JSON with a format number, written whole or not at all. A copy of the
//! version before is kept beside each document.
//!
//! A document may grow by fields that have a default. A change that an earlier build would misread raises the
//! format; an earlier build that is installed again then falls back to the copy, or begins the document anew.

use crate::file;
use crate::folder::Folder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinError;

/// More than any document comes to.
const LARGEST: u64 = 16 << 20;

/// A kind of document; a folder holds at most one document of each kind.
pub trait Document: Serialize + DeserializeOwned {
    /// The name of the file.
    const FILE: &str;
    /// The format that is written.
    const FORMAT: u32 = 1;
}

/// Why a document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file system refused.
    #[error("cannot read or write {path}: {why}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Neither the document nor the copy before it can be read.
    #[error("{path} is damaged: {why}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    document: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
struct Body<T> {
    document: T,
}

impl Folder {
    /// Reads a document, or, where the document is damaged, the copy before it; `None` where the file is
    /// missing.
    pub fn read<T: Document>(&self) -> Result<Option<T>, DocumentError> {
        let path = self.root().join(T::FILE);
        let newest = read_file(&path);
        if newest.is_ok() {
            return newest;
        }
        // Damaged, of a later format, or under a sector that cannot be read.
        for copy in copies::<T>(&path) {
            if let Ok(Some(document)) = read_file(&copy) {
                tracing::error!(path = %path.display(), copy = %copy.display(), "a document is replaced by an earlier copy");
                return Ok(Some(document));
            }
        }
        newest
    }

    /// The document and its copies, as far as they can be read, the newest first: for a document that may be
    /// readable and wrong.
    pub fn read_copies<T: Document>(&self) -> Vec<T> {
        let path = self.root().join(T::FILE);
        let all = std::iter::once(path.clone()).chain(copies::<T>(&path));
        all.filter_map(|path| {
            read_file(&path)
                .inspect_err(|error| tracing::error!(%error, "a document cannot be read"))
                .ok()
                .flatten()
        })
        .collect()
    }

    /// Reads a document that the node can do without: a damaged document is logged and replaced by the
    /// default.
    pub fn read_or_default<T: Document + Default>(&self) -> T {
        self.read()
            .unwrap_or_else(|error| {
                tracing::error!(%error, "a document is begun anew");
                None
            })
            .unwrap_or_default()
    }

    /// Writes a document, away from the thread on which everything else waits.
    pub async fn write_on_disk<T: Document + Send + 'static>(
        self: &Arc<Self>,
        document: T,
    ) -> Result<(), DocumentError> {
        let path = self.root().join(T::FILE);
        let written = self.on_disk(move |folder| Ok::<_, JoinError>(folder.write(&document))).await;
        written.unwrap_or_else(|error| Err(DocumentError::Io { path, why: io::Error::other(error) }))
    }

    /// Writes a document, whole or not at all.
    pub fn write<T: Document>(&self, document: &T) -> Result<(), DocumentError> {
        let path = self.root().join(T::FILE);
        let io = |why| DocumentError::Io { path: path.clone(), why };
        let json = serde_json::to_vec_pretty(&Written { format: T::FORMAT, document });
        let json = json.map_err(|error| io(error.into()))?;
        // A damaged document must not take the place of the good copy before it.
        let last = read_file::<T>(&path).ok().flatten().and_then(|_| file::read_file(&path, LARGEST).ok());
        if let Some(last) = &last {
            keep_format::<T>(&path, last).map_err(io)?;
        }
        file::replace_file(&path, &json).map_err(io)?;
        // The copy is written after the document: whatever happens in between, one of the two is whole.
        if let Some(last) = last
            && let Err(error) = file::replace_file(&before(&path), &last)
        {
            tracing::warn!(path = %path.display(), %error, "no copy of the document before could be kept");
        }
        Ok(())
    }
}

/// Keeps the last document of an earlier format, once and for good: a build that is put back after any number of starts of
/// this one finds what it can read.
fn keep_format<T: Document>(path: &Path, last: &[u8]) -> io::Result<()> {
    match serde_json::from_slice(last) {
        Ok(Format { format }) if format < T::FORMAT => file::replace_file(&of_format(path, format), last),
        _ => Ok(()),
    }
}

/// What stands in for a document that cannot be read: the one before it, then the last of each format that this build reads.
fn copies<T: Document>(path: &Path) -> impl Iterator<Item = PathBuf> {
    let formats = (1..=T::FORMAT).rev().map(|format| of_format(path, format));
    std::iter::once(before(path)).chain(formats)
}

fn of_format(path: &Path, format: u32) -> PathBuf {
    path.with_extension(format!("format{format}.json"))
}

fn read_file<T: Document>(path: &Path) -> Result<Option<T>, DocumentError> {
    let bytes = match file::read_file(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(DocumentError::Io { path: path.to_owned(), why }),
    };
    let damaged = |why: String| DocumentError::Damaged { path: path.to_owned(), why };
    let Format { format } = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if format > T::FORMAT {
        return Err(damaged(format!("it is in format {format}, and this build reads {}", T::FORMAT)));
    }
    let Body { document } = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(document))
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("before.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
    struct Count {
        count: u32,
        #[serde(default)]
        since: u32,
    }

    impl Document for Count {
        const FILE: &str = "count.json";
    }

    fn count(count: u32) -> Count {
        Count { count, since: 0 }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn the_newest_is_read_and_the_one_before_where_the_newest_is_damaged() {
        let (place, folder) = folder();
        assert_eq!(folder.read::<Count>().unwrap(), None);
        for n in 1..=3 {
            folder.write(&count(n)).unwrap();
        }
        assert_eq!(folder.read().unwrap(), Some(count(3)));
        for torn in ["", "{\"format\":1,\"docu", "\0\0\0\0"] {
            fs::write(place.path().join(Count::FILE), torn).unwrap();
            assert_eq!(folder.read().unwrap(), Some(count(2)), "{torn:?}");
        }
        folder.write(&count(4)).unwrap();
        fs::write(place.path().join(Count::FILE), "").unwrap();
        assert_eq!(
            folder.read().unwrap(),
            Some(count(2)),
            "a damaged one took the place of the copy before it"
        );
    }

    #[test]
    fn one_that_is_gone_is_not_damaged_and_one_without_a_good_copy_is() {
        let (place, folder) = folder();
        folder.write(&count(1)).unwrap();
        fs::write(place.path().join(Count::FILE), "").unwrap();
        assert!(matches!(folder.read::<Count>(), Err(DocumentError::Damaged { .. })));
        assert_eq!(folder.read_or_default::<Count>(), count(0));
        folder.write(&count(1)).unwrap();
        folder.write(&count(2)).unwrap();
        fs::remove_file(place.path().join(Count::FILE)).unwrap();
        assert_eq!(folder.read::<Count>().unwrap(), None, "whoever takes it away wants it gone");
    }

    #[test]
    fn fields_of_later_builds_are_passed_over_and_later_formats_are_not_guessed_at() {
        let (place, folder) = folder();
        let file = place.path().join(Count::FILE);
        fs::write(&file, r#"{"format":1,"signed_by":"x","document":{"count":7,"colour":"red"}}"#).unwrap();
        assert_eq!(folder.read().unwrap(), Some(count(7)));
        fs::write(&file, r#"{"format":2,"document":{"count":7}}"#).unwrap();
        assert!(folder.read::<Count>().is_err());
    }

    /// What a later build makes of the same document.
    #[derive(Serialize, Deserialize)]
    struct LaterCount {
        counts: Vec<u32>,
    }

    impl Document for LaterCount {
        const FILE: &str = Count::FILE;
        const FORMAT: u32 = 2;
    }

    #[test]
    fn a_build_that_is_put_back_after_many_starts_of_a_later_one_finds_what_it_can_read() {
        let (place, folder) = folder();
        folder.write(&count(7)).unwrap();
        // The later build reads the earlier format by itself; here it only writes.
        let old = fs::read(place.path().join(Count::FILE)).unwrap();
        keep_format::<LaterCount>(&place.path().join(Count::FILE), &old).unwrap();
        for start in 1..4 {
            folder.write(&LaterCount { counts: vec![start] }).unwrap();
        }
        assert_eq!(folder.read().unwrap(), Some(count(7)));
    }

    #[test]
    fn a_document_that_the_disk_does_not_give_back_is_replaced_by_the_copy_before_it() {
        let (place, folder) = folder();
        folder.write(&count(1)).unwrap();
        folder.write(&count(2)).unwrap();
        let file = place.path().join(Count::FILE);
        fs::remove_file(&file).unwrap();
        // Reading a folder fails as reading a bad sector does: not as damage.
        fs::create_dir(&file).unwrap();
        assert_eq!(folder.read().unwrap(), Some(count(1)));
    }

    #[test]
    fn two_nodes_do_not_share_a_folder() {
        let (place, _folder) = folder();
        assert!(matches!(Folder::open(place.path()), Err(crate::FolderError::InUse(_))));
    }
}
