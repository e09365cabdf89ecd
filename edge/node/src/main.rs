//! `noderr-node`: the runtime on the box, and its own CLI.

mod attester;
mod base;
mod boot;
mod commands;
mod config;
mod desired;
mod health;
mod inbox;
mod keeper;
mod outbox;
mod probes;
mod registrar;
mod runtime;
mod sampler;
mod shared;
mod status;

use clap::{Parser, Subcommand};
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
    /// Run the node: enrol if needed, connect, report. Stops on SIGTERM or Ctrl-C.
    Run,
    /// Enrol this box with an install token and exit.
    Enrol {
        /// The install token; by default control_plane.install_token of the configuration.
        #[arg(long, env = "NODERR_INSTALL_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
    /// Say how the running node is.
    Status {
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
    let result = match arguments.command {
        Command::Run => commands::run(&arguments.config),
        Command::Enrol { token } => commands::enrol(&arguments.config, token),
        Command::Status { json } => commands::status(&arguments.config, json),
        Command::Config { command: ConfigCommand::Check } => commands::check(&arguments.config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
