//! Where an archive lies: on servers that nobody has to trust, over which the boxes spread, or in a folder.

use crate::fetch::{Beside, FetchError, Fetcher, Speed};
use crate::setback::Setback;
use crate::stick::{Opened, StickFolder};
use crate::store::{Coming, Gap};
use noderr_protocol::HexDigest;
use noderr_protocol::release::ReleaseRefusal;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most places that are tried, and how much a control plane may say of them.
const MOST: usize = 16;
const SAID: u64 = 64 * 1024;

/// Where an archive lies.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// At an address, of whose server the speed is known so far.
    Server(String, Speed),
    /// In a file of a stick, at this path.
    File(StickFolder, PathBuf),
}

#[derive(Deserialize)]
struct Said {
    places: Vec<String>,
}

pub(crate) fn hex(digest: &HexDigest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks the control plane where an archive lies. What it says is a hint: every chunk is checked, wherever it comes from. A control
/// plane that says nothing has the archive itself.
pub(crate) async fn places_of(
    fetcher: &Fetcher,
    control_plane: &str,
    archive: &HexDigest,
    spread: &[u8],
) -> Vec<Place> {
    let (base, name) = (control_plane.trim_end_matches('/'), hex(archive));
    let said = fetcher.all(&format!("{base}/releases/places/{name}"), SAID).await;
    let said = said.ok().and_then(|said| serde_json::from_slice::<Said>(&said).ok());
    let mut places = said.map(|said| said.places).unwrap_or_default();
    places.truncate(MOST);
    spread_over(&mut places, spread);
    let own = format!("{base}/releases/objects/{name}");
    if !places.contains(&own) {
        places.push(own);
    }
    places.into_iter().map(|place| Place::Server(place, Speed::default())).collect()
}

pub(crate) fn place_in(folder: &StickFolder, archive: &HexDigest) -> Place {
    Place::File(folder.clone(), Path::new("objects").join(hex(archive)))
}

/// Each box begins at another place, and has an order of its own for the rest.
fn spread_over(places: &mut [String], spread: &[u8]) {
    places.sort_by_key(|place| {
        // The words of an address that a store has signed differ from one time to the next.
        let place = place.split('?').next().unwrap_or_default();
        digest(&SHA256, &[spread, place.as_bytes()].concat()).as_ref().to_vec()
    });
}

/// Why a place does not give what it should.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The place is of no use; another one may be.
    Place(Setback),
    /// The box itself cannot go on.
    Here(Setback),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Place(Setback::Passing(error.to_string()))
    }
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::Place(error.into())
    }
}

impl Place {
    /// Whether it is a file, which costs nothing.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::File(..))
    }

    /// Whether it is a file of so many bytes.
    pub(crate) async fn is_there(&self, bytes: u64) -> bool {
        let Self::File(folder, path) = self.clone() else { return false };
        let found = folder.ask(move |root| fs::symlink_metadata(root.join(path))).await;
        found.is_ok_and(|found| found.is_file() && found.len() == bytes)
    }

    /// The beginning of the archive, up to the end of its index.
    pub(crate) async fn index(&self, fetcher: &Fetcher, bytes: u64) -> Result<Vec<u8>, Failed> {
        match self {
            Self::Server(address, speed) => {
                let mut answer = fetcher.range(address, 0..bytes, (speed, Beside::Nobody)).await?;
                let mut index = Vec::new();
                while let Some(more) = answer.next().await? {
                    index.extend_from_slice(&more);
                }
                Ok(index)
            }
            Self::File(folder, path) => {
                let path = path.clone();
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                Ok(folder.ask(move |root| Opened::new(&root.join(path))?.read(0, bytes)).await?)
            }
        }
    }

    /// Fills a gap, chunk by chunk: what has come stays, whatever happens to the rest.
    pub(crate) async fn fill(
        &self,
        fetcher: &Fetcher,
        coming: &Arc<Coming>,
        gap: &Gap,
        beside: Beside,
    ) -> Result<(), Failed> {
        match self {
            Self::Server(address, speed) => {
                let mut answer = fetcher.range(address, gap.bytes.clone(), (speed, beside)).await?;
                let mut waiting = Vec::new();
                for number in gap.chunks.clone() {
                    let length = coming.packed(number);
                    while waiting.len() < length {
                        let Some(more) = answer.next().await? else { break };
                        waiting.extend_from_slice(&more);
                    }
                    let rest = waiting.split_off(length.min(waiting.len()));
                    put(coming, number, waiting).await?;
                    waiting = rest;
                }
                // The end is read too, so that the line is free for the next gap.
                while answer.next().await?.is_some() {}
                Ok(())
            }
            Self::File(folder, path) => {
                let (path, mut at) = (path.clone(), gap.bytes.start);
                let file = Arc::new(folder.ask(move |root| Opened::new(&root.join(path))).await?);
                for number in gap.chunks.clone() {
                    let (file, length) = (file.clone(), coming.packed(number));
                    let bytes = folder.ask(move |_| file.read(at, length)).await?;
                    at += bytes.len() as u64;
                    put(coming, number, bytes).await?;
                }
                Ok(())
            }
        }
    }
}

async fn put(coming: &Arc<Coming>, number: usize, packed: Vec<u8>) -> Result<(), Failed> {
    let coming = coming.clone();
    let put = tokio::task::spawn_blocking(move || coming.put(number, &packed)).await;
    match put.map_err(|error| Failed::Here(Setback::Passing(error.to_string())))? {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.into() {
            wrong @ Setback::Refused { why: ReleaseRefusal::Mismatched, .. } => Failed::Place(wrong),
            here => Failed::Here(here),
        }),
    }
}

/// Runs what waits for a disk away from the thread on which everything else waits.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Setback> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten().map_err(|error| Setback::Passing(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn boxes_spread_over_the_places_and_each_keeps_to_its_own() {
        let all: Vec<_> = ["a", "b", "c"].map(|host| format!("https://{host}.example.org/objects/x")).into();
        let mut first = BTreeMap::new();
        for number in 0..300_u32 {
            let mut places = all.clone();
            spread_over(&mut places, &number.to_le_bytes());
            let mut signed: Vec<_> =
                places.iter().rev().map(|place| format!("{place}?signature={number}")).collect();
            spread_over(&mut signed, &number.to_le_bytes());
            assert!(signed[0].starts_with(&places[0]), "the order is of the box and not of the signature");
            *first.entry(places[0].clone()).or_insert(0) += 1;
        }
        assert!(first.len() == 3 && first.values().all(|boxes| (60..140).contains(boxes)), "{first:?}");
    }
}
