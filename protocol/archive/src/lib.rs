//! How an artefact travels: cut by its content into chunks, each compressed on its own, behind an index that has the hash of
//! every chunk. The format is that of `bita`, whose tools read these archives.
//!
//! [`pack`] makes an archive. A box reads its [`Index`] first; cuts what it has already as the archive was [cut](Index::cut),
//! which shows the chunks that it lacks; fetches those alone, and [opens](Index::open) each.
//!
//! No sockets, and no disk but the files that are handed in. Hashes are what makes a chunk right: nothing here is trusted
//! because of where it comes from.
//!
//! ```
//! use noderr_archive::{Index, pack};
//!
//! let artefact: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
//! let (mut chunks, mut archive) = (tempfile::tempfile().unwrap(), Vec::new());
//! let packed = pack(&artefact[..], artefact.len() as u64, &mut chunks, &mut archive).unwrap();
//! let index = Index::read(&archive[..packed.archive.index_bytes as usize], &packed.content, &packed.archive).unwrap();
//! let first = &index.chunks()[0];
//! let range = first.offset as usize..(first.offset + u64::from(first.packed)) as usize;
//! assert_eq!(index.open(first, &archive[range]).unwrap(), artefact[..first.length as usize]);
//! ```

mod built;
mod cut;
mod index;
mod pack;
mod unpacked;

pub use built::{NotTheArtefact, builder_in, check_artefact, check_builder};
pub use cut::Piece;
pub use index::{Chunk, Index, IndexError, NotTheChunk};
pub use pack::{Packed, pack};
pub use unpacked::Unpacked;
