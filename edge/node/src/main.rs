//! `noderr-node`: the runtime on the box, and its own CLI.

mod alarm;
mod attester;
mod base;
mod boot;
mod clock_pace;
mod commands;
mod config;
mod desired;
mod event_log;
mod health;
mod inbox;
mod keeper;
mod outbox;
mod probes;
mod quarantine;
mod registrar;
mod releases;
mod renewals;
mod runtime;
mod sampler;
mod shared;
mod status;
mod storage;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The runtime of a Noderr box.
#[derive(Parser)]
#[command(name = "noderr-node", version, arg_required_else_help = true)]
struct Arguments {
    /// The node's configuration.
    #[arg(long, short, global = true, default_value = "/etc/noderr/node.toml", env = "NODERR_NODE_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node: enrol if needed, connect, report. Stops on SIGTERM or Ctrl-C, and on SIGHUP to be started again.
    Run,
    /// Enrol this box with an install token and exit.
    Enrol {
        /// The install token; by default control_plane.install_token of the configuration.
        #[arg(long, env = "NODERR_INSTALL_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
    /// Say how the running node is. Exits with 0 if it is online and well, 3 if it is not, 1 if no node runs.
    Status {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Say which releases the running node holds, fetches or refuses. Exits with 3 if it does not hold all that it should.
    Releases {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Work with the configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read the configuration and say what is wrong with it, or what it means.
    Check,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = |said| (said, ExitCode::SUCCESS);
    let result = match arguments.command {
        Command::Run => commands::run(&arguments.config).map(|code| (String::new(), code)),
        Command::Enrol { token } => commands::enrol(&arguments.config, token).map(done),
        Command::Status { json } => commands::status(&arguments.config, json),
        Command::Releases { json } => commands::releases(&arguments.config, json),
        Command::Config { command: ConfigCommand::Check } => commands::check(&arguments.config).map(done),
    };
    match result.and_then(|(said, code)| print(&said).map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("noderr-node: {error:#}");
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
