//! What is printed: whoever stops reading (`| head`) has read enough.

use std::io::{ErrorKind, Write as _};

/// Prints text and a line's end.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => eprintln!("noderrctl: cannot print: {error}"),
        _ => {}
    }
}
