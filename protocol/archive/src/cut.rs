//! Cutting bytes by their content: the same bytes are cut in the same places, wherever they stand.

use bitar::chunker::Config;
use blake2::{Blake2b512, Digest as _};
use bytes::Bytes;
use futures_util::Stream as _;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// The length of the hash that names a chunk.
pub(crate) const HASH: usize = 32;

/// A piece of what was cut, with the hash by which an index may know it.
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// Their hash.
    pub hash: [u8; HASH],
}

/// Something to read, for an interface that waits: it never does.
struct Ready<R>(R);

impl<R: Read + Unpin> AsyncRead for Ready<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

/// Cuts all that `source` has.
pub(crate) fn cut<'a, R: Read + Unpin + Send + 'a>(
    config: &Config,
    source: R,
) -> impl Iterator<Item = io::Result<Piece>> + use<'a, R> {
    let mut stream = config.new_chunker(Ready(source));
    std::iter::from_fn(move || {
        let Poll::Ready(next) = Pin::new(&mut stream).poll_next(&mut Context::from_waker(Waker::noop()))
        else {
            return Some(Err(io::Error::other("what never waits has waited")));
        };
        next.map(|piece| {
            let (offset, chunk) = piece?;
            let bytes = chunk.into_inner();
            Ok(Piece { offset, hash: hash(&bytes), bytes })
        })
    })
}

/// The hash of these bytes: the first half of their BLAKE2b-512.
pub(crate) fn hash(bytes: &[u8]) -> [u8; HASH] {
    let mut hash = [0; HASH];
    hash.copy_from_slice(&Blake2b512::digest(bytes)[..HASH]);
    hash
}
