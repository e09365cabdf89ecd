//! What is printed: whoever stops reading (`| head`) has read enough, and what cannot be printed is a failure.

use anyhow::Context as _;
use std::io::{self, ErrorKind, Write as _};

/// Prints text and a line's end.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    write(&format!("{text}\n")).context("the answer cannot be printed, though what was asked for is done")
}

/// Prints text as it is.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
