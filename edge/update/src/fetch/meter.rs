//! The meter: what goes over the network, counted where it does, below TLS; and how fast it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Counts bytes both ways; cheap to clone, and all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What may come before the head of an answer is whole. More than a head has: the first bytes behind it may come with it.
const HEAD: u64 = 1 << 20;

/// How much may still come before the head of an answer is whole: a server may say `100 Continue` for ever.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadBound(Arc<AtomicU64>);

impl HeadBound {
    /// A head is waited for.
    pub(super) fn begin(&self) {
        self.0.store(HEAD, Ordering::Relaxed);
    }

    /// The head is whole.
    pub(super) fn end(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        if left == u64::MAX {
            return Ok(());
        }
        let rest = left.checked_sub(bytes as u64);
        let rest = rest.ok_or_else(|| io::Error::other("the head of the answer goes on and on"))?;
        self.0.store(rest, Ordering::Relaxed);
        Ok(())
    }
}

/// A connection whose bytes are counted.
pub(super) struct Metered {
    pub(super) stream: TcpStream,
    pub(super) meter: Meter,
    pub(super) head: HeadBound,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let come = buffer.filled().len() - before;
        self.meter.count(come);
        self.head.take(come)?;
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.meter.count(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The pace of a transfer: so many bytes a second at most, over any time longer than a second.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// Until when what has come uses the line up.
    used_until: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), used_until: Instant::now() }
    }

    /// How long to wait before more may come, now that so many bytes have.
    pub(super) fn after(&mut self, bytes: u64, now: Instant) -> Duration {
        let takes = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_s);
        // What was not used up to a moment ago is gone.
        self.used_until = self.used_until.max(now) + takes;
        self.used_until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_faster_than_it_may_waits_and_what_was_not_used_is_gone() {
        let (mut pace, now) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.after(500, now).as_millis() / 10, 50);
        assert_eq!(pace.after(500, now).as_millis() / 10, 100);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.after(100, later).as_millis() / 10, 10);
    }
}
