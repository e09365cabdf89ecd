//! Making an archive of an artefact.

use crate::cut::cut;
use crate::index::COMPRESSED;
use bitar::chunk_dictionary as dictionary;
use bitar::chunker::{Config, FilterBits, FilterConfig};
use blake2::{Blake2b512, Digest as _};
use noderr_protocol::HexDigest;
use noderr_protocol::release::{Archive, Content};
use ring::digest::{Context, SHA256};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The smallest average chunk.
const AVERAGE: u64 = 32 * 1024;
/// About so many chunks an artefact has at most: a box holds their hashes in memory.
const CHUNKS: u64 = 16 * 1024;
/// How hard chunks are compressed: once here, so that it is less work for every box.
const LEVEL: i32 = 12;
/// Bytes that a rolling hash looks at.
const WINDOW: usize = 64;

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The artefact.
    pub content: Content,
    /// The archive.
    pub archive: Archive,
}

/// Writes what goes through, and counts and hashes it.
struct Hashing<W> {
    inner: W,
    sha256: Context,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, sha256: Context::new(&SHA256), bytes: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> (u64, HexDigest) {
        (self.bytes, digest(self.sha256))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn digest(sha256: Context) -> HexDigest {
    let mut digest = [0; 32];
    digest.copy_from_slice(sha256.finish().as_ref());
    HexDigest(digest)
}

/// Packs all of `source`, which has about `length` bytes, into `archive`. The compressed chunks are put down in `chunks`
/// meanwhile, a file that is nobody's afterwards: the index goes before them, and is known last.
pub fn pack(
    source: impl Read + Unpin + Send,
    length: u64,
    chunks: &mut (impl Read + Write + Seek),
    archive: impl Write,
) -> io::Result<Packed> {
    let filter = filter_for(length);
    let (mut content, mut blake2b) = (Hashing::new(()), Blake2b512::new());
    let mut known = HashMap::new();
    let (mut order, mut descriptors, mut offset) = (Vec::new(), Vec::new(), 0);
    for piece in cut(&Config::BuzHash(filter), source) {
        let piece = piece?;
        content.note(&piece.bytes);
        blake2b.update(&piece.bytes);
        let number = *known.entry(piece.hash).or_insert(descriptors.len());
        order.push(u32::try_from(number).map_err(io::Error::other)?);
        if number < descriptors.len() {
            continue;
        }
        let small = zstd::bulk::compress(&piece.bytes, LEVEL)?;
        let packed = if small.len() < piece.bytes.len() { &small[..] } else { &piece.bytes[..] };
        chunks.write_all(packed)?;
        descriptors.push(dictionary::ChunkDescriptor {
            checksum: piece.hash.to_vec(),
            archive_size: u32::try_from(packed.len()).map_err(io::Error::other)?,
            archive_offset: offset,
            source_size: u32::try_from(piece.bytes.len()).map_err(io::Error::other)?,
        });
        offset += packed.len() as u64;
    }
    let (bytes, sha256) = content.finish();
    let content = Content { bytes, sha256 };
    let of_content = (bytes, blake2b.finalize().to_vec());
    let header = bitar::header::build(&written_down(filter, order, descriptors, of_content), None)?;
    let mut index = Hashing::new(());
    index.note(&header);
    let (index_bytes, index_sha256) = index.finish();
    let mut archive = Hashing::new(archive);
    archive.write_all(&header)?;
    chunks.seek(SeekFrom::Start(0))?;
    io::copy(&mut chunks.take(offset), &mut archive)?;
    archive.flush()?;
    let (bytes, sha256) = archive.finish();
    Ok(Packed { content, archive: Archive { bytes, sha256, index_bytes, index_sha256 } })
}

/// How an artefact of this length is cut: finer where it is small, and never into more chunks than a box can hold.
fn filter_for(length: u64) -> FilterConfig {
    let average = (length / CHUNKS).next_power_of_two().clamp(AVERAGE, 1 << 22);
    let average = u32::try_from(average).unwrap_or(1 << 22);
    FilterConfig {
        filter_bits: FilterBits::from_size(average),
        min_chunk_size: average as usize / 4,
        max_chunk_size: average as usize * 4,
        window_size: WINDOW,
    }
}

fn written_down(
    filter: FilterConfig,
    rebuild_order: Vec<u32>,
    chunk_descriptors: Vec<dictionary::ChunkDescriptor>,
    (bytes, blake2b): (u64, Vec<u8>),
) -> dictionary::ChunkDictionary {
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    dictionary::ChunkDictionary {
        application_version: "noderr".to_owned(),
        source_checksum: blake2b,
        source_total_size: bytes,
        chunker_params: Some(dictionary::ChunkerParameters {
            chunk_filter_bits: filter.filter_bits.bits(),
            min_chunk_size: size(filter.min_chunk_size),
            max_chunk_size: size(filter.max_chunk_size),
            rolling_hash_window_size: size(filter.window_size),
            chunk_hash_length: 32,
            chunking_algorithm: dictionary::chunker_parameters::ChunkingAlgorithm::Buzhash as i32,
        }),
        chunk_compression: Some(dictionary::ChunkCompression {
            compression: COMPRESSED as i32,
            compression_level: LEVEL.unsigned_abs(),
        }),
        rebuild_order,
        chunk_descriptors,
        metadata: [].into(),
    }
}
