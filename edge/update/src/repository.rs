//! Where metadata and small targets are asked for: a server, or a folder on a stick.

use crate::fetch::{FetchError, Fetcher};
use crate::stick::StickFolder;
use sigstore_tuf::Error;
use sigstore_tuf::transport::FetchFuture;
use std::io;
use std::path::{Component, Path};

/// A place that hands out metadata, as the release tool lays it out.
pub enum Repository {
    /// A server.
    Server {
        /// Asks it.
        fetcher: Fetcher,
        /// The address of the metadata.
        metadata: String,
        /// The address of the targets.
        targets: String,
    },
    /// A folder, with no network at all.
    Folder(StickFolder),
}

impl sigstore_tuf::Repository for Repository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            match self {
                Self::Server { fetcher, metadata, .. } => ask(fetcher, metadata, name, max_length).await,
                Self::Folder(folder) => read(folder, "metadata", name, max_length).await,
            }
        })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            match self {
                Self::Server { fetcher, targets, .. } => ask(fetcher, targets, path, max_length).await,
                Self::Folder(folder) => read(folder, "targets", path, max_length).await,
            }
        })
    }
}

async fn ask(fetcher: &Fetcher, base: &str, name: &str, bound: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
    let address = format!("{}/{}", base.trim_end_matches('/'), quoted(name));
    match fetcher.all(&address, bound).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FetchError::NotThere(_)) => Ok(None),
        Err(error) => Err(Error::transport(error.to_string())),
    }
}

/// A name as a path of an address. What is quoted already stays.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'%' => {
                quoted.push(char::from(byte));
            }
            other => quoted.push_str(&format!("%{other:02X}")),
        }
    }
    quoted
}

async fn read(
    folder: &StickFolder,
    below: &str,
    name: &str,
    bound: u64,
) -> sigstore_tuf::Result<Option<Vec<u8>>> {
    let path = Path::new(below).join(name);
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::transport(format!("{name} leads out of its folder")));
    }
    match folder.read(path.clone(), bound.saturating_add(1)).await {
        Ok(bytes) if bytes.len() as u64 > bound => {
            Err(Error::transport(format!("{} has more than {bound} bytes", path.display())))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::transport_with_source(format!("cannot read {}", path.display()), error)),
    }
}
