//! `noderr-control`: the control plane's program.

use anyhow::Context as _;
use clap::Parser as _;
use noderr_control::commands::{Arguments, run};
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Arguments::parse()).and_then(|said| print(&said)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints text; whoever stops reading (`| head`) has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the answer cannot be printed, though what was asked for is done")
        }
        _ => Ok(()),
    }
}
