//! Reading an archive as the artefact that it holds, from its beginning to its end.

use crate::index::{Index, IndexError};
use noderr_protocol::release::Manifest;
use std::io::{self, Read, Seek, SeekFrom};

/// An artefact that is unpacked as it is read. Every chunk is checked; whether they all are the artefact, is not.
pub struct Unpacked<R> {
    archive: R,
    index: Index,
    /// Numbers of the chunks that are still to come, the next one last.
    next: Vec<usize>,
    opened: io::Cursor<Vec<u8>>,
}

impl<R: Read + Seek> Unpacked<R> {
    /// Begins at the beginning of an archive.
    pub fn new(mut archive: R, manifest: &Manifest) -> Result<Self, IndexError> {
        const SHORT: IndexError = IndexError("it ends too early");
        let length = usize::try_from(manifest.archive.index_bytes).map_err(|_| SHORT)?;
        let mut index = vec![0; length];
        archive.read_exact(&mut index).map_err(|_| SHORT)?;
        let index = Index::read(&index, &manifest.content, &manifest.archive)?;
        let mut next: Vec<_> = index.places().map(|(_, number)| number).collect();
        next.reverse();
        Ok(Self { archive, index, next, opened: io::Cursor::new(Vec::new()) })
    }
}

impl<R: Read + Seek> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.opened.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(number) = self.next.pop() else { return Ok(0) };
            let chunk = self.index.chunks()[number];
            let mut packed = vec![0; chunk.packed as usize];
            self.archive.seek(SeekFrom::Start(chunk.offset))?;
            self.archive.read_exact(&mut packed)?;
            self.opened = io::Cursor::new(self.index.open(&chunk, &packed).map_err(io::Error::other)?);
        }
    }
}
