//! The index of an archive: the chunks there are, where each stands in the archive and in the artefact.

use crate::cut::{HASH, Piece, cut, hash};
use bitar::chunk_dictionary::chunk_compression::CompressionType;
use bitar::chunk_dictionary::chunker_parameters::ChunkingAlgorithm;
use bitar::chunk_dictionary::{ChunkDescriptor, ChunkDictionary, ChunkerParameters};
use bitar::chunker::{Config, FilterBits, FilterConfig};
use bitar::header::{ARCHIVE_MAGIC, PRE_HEADER_SIZE};
use noderr_protocol::release::{Archive, Content};
use prost::Message as _;
use std::collections::HashMap;
use std::io::{self, Read};

/// How chunks are compressed that are smaller for it.
pub(crate) const COMPRESSED: CompressionType = CompressionType::Zstd;
/// The largest chunk: a box holds one in memory, packed and unpacked.
const LARGEST: u32 = 16 << 20;
/// The offset of the chunks and the format's own checksum, behind the dictionary.
const BEHIND: usize = 8 + 64;

/// The index of an archive. It has been checked against the artefact that it is of.
#[derive(Debug)]
pub struct Index {
    chunks: Vec<Chunk>,
    order: Vec<u32>,
    by_hash: HashMap<[u8; HASH], u32>,
    filter: FilterConfig,
}

/// A chunk of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The hash that it has, unpacked.
    pub hash: [u8; HASH],
    /// Where it stands in the archive.
    pub offset: u64,
    /// Its length there.
    pub packed: u32,
    /// Its length in the artefact.
    pub length: u32,
}

/// Why bytes are not the index of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the index of the archive cannot be used: {0}")]
pub struct IndexError(pub(crate) &'static str);

/// These bytes are not the chunk that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not the chunk that was signed")]
pub struct NotTheChunk;

fn sound(is: bool, otherwise: &'static str) -> Result<(), IndexError> {
    if is { Ok(()) } else { Err(IndexError(otherwise)) }
}

impl Index {
    /// Reads an index, which must be of this artefact and this archive. That the bytes are those that were signed is the
    /// caller's to see to; what is wrong all the same is an error, never a panic.
    pub fn read(bytes: &[u8], content: &Content, archive: &Archive) -> Result<Self, IndexError> {
        let dictionary = dictionary(bytes)?;
        let filter =
            filter(dictionary.chunker_params.as_ref().ok_or(IndexError("it does not say how it was cut"))?)?;
        let compression = dictionary.chunk_compression.unwrap_or_default();
        sound(compression.compression() == COMPRESSED, "its chunks are compressed in another way")?;
        let mut chunks = Vec::with_capacity(dictionary.chunk_descriptors.len());
        let mut end = bytes.len() as u64;
        for descriptor in &dictionary.chunk_descriptors {
            let chunk = chunk(descriptor, bytes.len() as u64, &filter)?;
            sound(chunk.offset == end, "its chunks do not stand one behind the other")?;
            end += u64::from(chunk.packed);
            chunks.push(chunk);
        }
        sound(end == archive.bytes, "its chunks are not all of the archive")?;
        let mut total = 0_u64;
        let mut used = vec![false; chunks.len()];
        for number in &dictionary.rebuild_order {
            let chunk =
                chunks.get(*number as usize).ok_or(IndexError("it names a chunk that there is not"))?;
            used[*number as usize] = true;
            total += u64::from(chunk.length);
        }
        sound(total == content.bytes, "it makes an artefact of another length")?;
        sound(used.iter().all(|used| *used), "it has chunks that it does not use")?;
        let number = |(number, chunk): (usize, &Chunk)| Some((chunk.hash, u32::try_from(number).ok()?));
        let by_hash: HashMap<_, _> = chunks.iter().enumerate().filter_map(number).collect();
        sound(by_hash.len() == chunks.len(), "it has a chunk twice")?;
        Ok(Self { chunks, order: dictionary.rebuild_order, by_hash, filter })
    }

    /// The chunks, each once, in the order in which they stand in the archive.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The packed bytes of the chunks that another artefact has not; unknown, if that one was cut in another way.
    pub fn beyond(&self, other: &Self) -> Option<u64> {
        let is_new = |chunk: &&Chunk| !other.by_hash.contains_key(&chunk.hash);
        let new = self.chunks.iter().filter(is_new).map(|chunk| u64::from(chunk.packed)).sum();
        (self.filter == other.filter).then_some(new)
    }

    /// The chunks of the artefact from its beginning to its end: where each stands, and its number among
    /// [`chunks`](Self::chunks). A chunk may stand in several places.
    pub fn places(&self) -> impl Iterator<Item = (u64, usize)> {
        let mut offset = 0;
        self.order.iter().map(move |number| {
            let (at, number) = (offset, *number as usize);
            offset += u64::from(self.chunks[number].length);
            (at, number)
        })
    }

    /// The number of the chunk that a piece is, if it is one.
    pub fn number_of(&self, piece: &Piece) -> Option<usize> {
        self.by_hash.get(&piece.hash).map(|number| *number as usize)
    }

    /// Cuts other bytes as the artefact was cut, so that what both have in common is found.
    pub fn cut<'a, R: Read + Unpin + Send + 'a>(
        &self,
        source: R,
    ) -> impl Iterator<Item = io::Result<Piece>> + use<'a, R> {
        cut(&Config::BuzHash(self.filter), source)
    }

    /// Unpacks a chunk, and makes sure that it is the one.
    pub fn open(&self, chunk: &Chunk, packed: &[u8]) -> Result<Vec<u8>, NotTheChunk> {
        let opened = if packed.len() == chunk.length as usize {
            packed.to_vec()
        } else {
            zstd::bulk::decompress(packed, chunk.length as usize).map_err(|_| NotTheChunk)?
        };
        if self.is(chunk, &opened) { Ok(opened) } else { Err(NotTheChunk) }
    }

    /// Whether these bytes are the chunk, unpacked.
    pub fn is(&self, chunk: &Chunk, bytes: &[u8]) -> bool {
        bytes.len() == chunk.length as usize && hash(bytes) == chunk.hash
    }
}

/// The dictionary of an index: magic, length, dictionary, offset of the chunks, checksum.
fn dictionary(bytes: &[u8]) -> Result<ChunkDictionary, IndexError> {
    const SHORT: IndexError = IndexError("it ends too early");
    let (head, rest) = bytes.split_at_checked(PRE_HEADER_SIZE).ok_or(SHORT)?;
    let (magic, length) = head.split_at(ARCHIVE_MAGIC.len());
    sound(magic == ARCHIVE_MAGIC, "it does not begin as an archive of bita does")?;
    let length = length.try_into().map(u64::from_le_bytes).map_err(|_| SHORT)?;
    let inner = rest.len().checked_sub(BEHIND).ok_or(SHORT)?;
    sound(length == inner as u64, "its dictionary has another length than it says")?;
    let (dictionary, behind) = rest.split_at(inner);
    let offset = behind.first_chunk().map(|offset| u64::from_le_bytes(*offset));
    sound(offset == Some(bytes.len() as u64), "its chunks stand elsewhere")?;
    ChunkDictionary::decode(dictionary).map_err(|_| IndexError("it is malformed"))
}

fn filter(cut: &ChunkerParameters) -> Result<FilterConfig, IndexError> {
    sound(cut.chunking_algorithm() == ChunkingAlgorithm::Buzhash, "it was cut in another way")?;
    sound(cut.chunk_hash_length as usize == HASH, "its hashes have another length")?;
    sound((1..=24).contains(&cut.chunk_filter_bits), "it was cut too finely, or not at all")?;
    let (least, most, window) = (cut.min_chunk_size, cut.max_chunk_size, cut.rolling_hash_window_size);
    sound((1..=1024).contains(&window) && window <= least, "it was cut by a window that cannot be")?;
    sound(least <= most && most <= LARGEST, "its chunks may be larger than a box can hold")?;
    Ok(FilterConfig {
        filter_bits: FilterBits::from_bits(cut.chunk_filter_bits),
        min_chunk_size: least as usize,
        max_chunk_size: most as usize,
        window_size: window as usize,
    })
}

fn chunk(says: &ChunkDescriptor, behind: u64, cut: &FilterConfig) -> Result<Chunk, IndexError> {
    let hash = says.checksum.as_slice().try_into().map_err(|_| IndexError("a hash has another length"))?;
    let (packed, length) = (says.archive_size, says.source_size);
    sound(length as usize <= cut.max_chunk_size, "a chunk is larger than the largest")?;
    sound((1..=length).contains(&packed), "a chunk is larger for being packed, or empty")?;
    let offset = behind.checked_add(says.archive_offset).ok_or(IndexError("a chunk stands nowhere"))?;
    Ok(Chunk { hash, offset, packed, length })
}

#[cfg(test)]
mod tests;
