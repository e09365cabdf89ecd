//! `noderr-control`: the control plane's program.

use clap::Parser as _;
use noderr_control::commands::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}
