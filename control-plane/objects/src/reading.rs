//! Reading files of the folder, in pieces that a connection sends in one go.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Bytes that are read at once.
const PIECE: u64 = 128 * 1024;

/// Bytes of a file, as they are read.
pub(crate) async fn stream(
    path: PathBuf,
    range: Range<u64>,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let first = range.start..range.end.min(range.start + PIECE);
    let rest = first.end..range.end;
    // Most ranges are one piece: one visit to the disk opens and reads.
    let (file, first) = blocking(move || {
        let file = File::open(&path)?;
        let bytes = read(&file, first)?;
        Ok((Arc::new(file), bytes))
    })
    .await?;
    let pieces = stream::iter(rest.clone().step_by(PIECE as usize)).map(move |start| {
        let (file, end) = (file.clone(), rest.end);
        Ok(blocking(move || read(&file, start..end.min(start + PIECE))))
    });
    Ok(stream::iter([Ok(first)]).chain(pieces.try_buffered(1)).boxed())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other).flatten()
}

fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = range.start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes.into())
}

/// The length of a file, if it is there.
pub(crate) async fn length(path: PathBuf) -> io::Result<Option<u64>> {
    blocking(move || length_of(&path)).await
}

fn length_of(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_file().then_some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_range_comes_whole_however_many_pieces_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3 * PIECE + 77).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        for range in
            [0..1, 5..5 + PIECE, PIECE - 1..2 * PIECE + 1, 0..bytes.len() as u64, 3 * PIECE..3 * PIECE + 1]
        {
            let pieces: Vec<_> =
                stream(path.clone(), range.clone()).await.unwrap().try_collect().await.unwrap();
            assert!(pieces.iter().all(|piece| piece.len() as u64 <= PIECE));
            assert_eq!(pieces.concat(), bytes[range.start as usize..range.end as usize], "{range:?}");
        }
        let beyond = stream(path.clone(), bytes.len() as u64 - 1..bytes.len() as u64 + 1).await;
        assert_eq!(beyond.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
        assert_eq!(length(path).await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(length(folder.path().join("none")).await.unwrap(), None);
    }
}
