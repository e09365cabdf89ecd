//! Where archives lie: a folder, or a store that speaks S3. Objects go by their hash, are written once, and are read in ranges.
//!
//! ```
//! # tokio_test(async {
//! use noderr_objects::Objects;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let objects = Objects::in_folder(folder.path()).unwrap();
//! let file = folder.path().join("upload");
//! std::fs::write(&file, b"an archive").unwrap();
//! objects.put("0f", &file).await.unwrap();
//! assert_eq!(objects.length("0f").await.unwrap(), Some(10));
//! assert_eq!(&objects.range("0f", 3..10).await.unwrap()[..], b"archive");
//! # });
//! # fn tokio_test(test: impl Future<Output = ()>) {
//! #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
//! # }
//! ```

mod moving;
mod reading;
mod s3;

pub use s3::Bucket;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, WriteMultipart};
use reqwest::Method;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;

/// Bytes that are sent to a store at once.
const PART: usize = 8 << 20;

/// A store of objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder, where the store is one.
    folder: Option<PathBuf>,
    /// Signs addresses, where the store can be asked by others.
    signer: Option<Arc<dyn Signer>>,
}

/// Why the store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The store refuses, or does not answer.
    #[error("the object store: {0}")]
    Store(#[from] object_store::Error),
    /// The file that is to be stored cannot be read, or the folder cannot be made.
    #[error("{path}: {why}", path = path.display())]
    Io {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

impl ObjectsError {
    /// Whether a disk has no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { why, .. } => why.kind() == io::ErrorKind::StorageFull,
            Self::Store(_) => false,
        }
    }
}

impl Objects {
    /// The objects in a folder, which is made if it is not there.
    pub fn in_folder(folder: &Path) -> Result<Self, ObjectsError> {
        fs::create_dir_all(folder).map_err(|why| ObjectsError::Io { path: folder.to_owned(), why })?;
        // What was acknowledged survives a power cut.
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: Some(folder.to_owned()), signer: None })
    }

    /// The objects in a bucket.
    pub fn in_bucket(bucket: &Bucket) -> Result<Self, ObjectsError> {
        let store = Arc::new(bucket.open()?);
        Ok(Self { store: store.clone(), folder: None, signer: Some(store) })
    }

    /// An address at which whoever knows it may read an object for a while, if the store has such addresses.
    pub async fn address(&self, name: &str, lasts: Duration) -> Result<Option<String>, ObjectsError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let url = signer.signed_url(Method::GET, &Name::from(name), lasts).await?;
        Ok(Some(url.to_string()))
    }

    /// The length of an object, if it is there.
    pub async fn length(&self, name: &str) -> Result<Option<u64>, ObjectsError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(name);
            let length = reading::length(path.clone()).await;
            return length.map_err(|why| ObjectsError::Io { path, why });
        }
        match self.store.head(&Name::from(name)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a file, which is the store's then. It is there whole, or not at all. A disk that the file is copied to keeps so many bytes
    /// free.
    pub async fn adopt(&self, name: &str, file: &Path, left_free: u64) -> Result<(), ObjectsError> {
        if let Some(folder) = self.folder.clone() {
            let (place, source) = (folder.join(name), file.to_owned());
            let moved = spawn_blocking(move || moving::into(&folder, &place, &source, left_free)).await;
            let moved = moved.map_err(io::Error::other).flatten();
            if moved.map_err(|why| ObjectsError::Io { path: file.to_owned(), why })? {
                return Ok(());
            }
        }
        self.put(name, file).await?;
        let gone = tokio::fs::remove_file(file).await;
        gone.map_err(|why| ObjectsError::Io { path: file.to_owned(), why })
    }

    /// Stores a copy of a file. It is there whole, or not at all.
    pub async fn put(&self, name: &str, file: &Path) -> Result<(), ObjectsError> {
        let failed = |why| ObjectsError::Io { path: file.to_owned(), why };
        let mut source = tokio::fs::File::open(file).await.map_err(failed)?;
        let mut writer = WriteMultipart::new(self.store.put_multipart(&Name::from(name)).await?);
        let mut buffer = vec![0; PART];
        loop {
            match source.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => {
                    writer.wait_for_capacity(2).await?;
                    writer.write(&buffer[..read]);
                }
                Err(why) => {
                    writer.abort().await?;
                    return Err(failed(why));
                }
            }
        }
        writer.finish().await?;
        Ok(())
    }

    /// Bytes of an object.
    pub async fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectsError> {
        Ok(self.store.get_range(&Name::from(name), range).await?)
    }

    /// Bytes of an object, as they are read.
    pub async fn stream(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectsError>>, ObjectsError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(name);
            let failed = {
                let path = path.clone();
                move |why| ObjectsError::Io { path: path.clone(), why }
            };
            let pieces = reading::stream(path, range).await.map_err(&failed)?;
            return Ok(pieces.map_err(failed).boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.store.get_opts(&Name::from(name), options).await?;
        Ok(got.into_stream().map(|part| part.map_err(ObjectsError::from)).boxed())
    }

    /// The names of all objects that were stored before a moment.
    pub async fn stored_before(&self, then: SystemTime) -> Result<Vec<String>, ObjectsError> {
        let mut names = Vec::new();
        let mut all = self.store.list(None);
        while let Some(object) = all.next().await.transpose()? {
            if SystemTime::from(object.last_modified) < then {
                names.push(object.location.to_string());
            }
        }
        Ok(names)
    }

    /// Removes an object; one that is not there is gone already.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectsError> {
        match self.store.delete(&Name::from(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => Ok(removed?),
        }
    }
}
