//! How long the head of an answer may be.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// So much has come.
    pub(super) fn take(&self, bytes: usize) -> io::Result<()> {
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
