//! `noderr-control`: the control plane. One binary, any number of instances on one PostgreSQL.

mod app;
mod commands;
mod config;
mod database;
mod features;
mod http;
mod jobs;
mod notices;
mod tls;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The Noderr control plane.
#[derive(Parser)]
#[command(name = "noderr-control", version, arg_required_else_help = true)]
struct Arguments {
    /// The configuration; without it, defaults and NODERR_… variables.
    #[arg(long, short, global = true, env = "NODERR_CONTROL_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and the broker until SIGTERM or Ctrl-C.
    Serve,
    /// Bring the database up to this version and exit.
    Migrate,
    /// Manage administrators; works without a running control plane.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Issue a certificate of the network's authority for an external broker.
    IssueServer {
        /// The host names and addresses it is reached by.
        #[arg(required = true)]
        names: Vec<String>,
        /// Days it is good for.
        #[arg(long, default_value_t = 365)]
        days: u16,
        /// Where to write server.pem and server.key; neither may exist yet.
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
    /// Read the configuration and say what is wrong with it, or what it means.
    Check,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Add an administrator, or set a new password for one. The password is read from standard input.
    Set {
        /// The administrator's e-mail address.
        email: String,
    },
    /// Remove an administrator and end their sessions.
    Remove {
        /// The administrator's e-mail address.
        email: String,
    },
    /// Remove an administrator's second factor, for one who has lost it, and end their sessions.
    ResetSecondFactor {
        /// The administrator's e-mail address.
        email: String,
    },
    /// List the administrators.
    List,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = commands::runtime().and_then(|runtime| {
        let config = config::Config::load(arguments.config.as_deref())?;
        match arguments.command {
            Command::Serve => runtime.block_on(commands::serve(config)),
            Command::Migrate => runtime.block_on(commands::migrate(config)),
            Command::Admin { command } => runtime.block_on(async {
                match command {
                    AdminCommand::Set { email } => commands::admin_set(config, &email).await,
                    AdminCommand::Remove { email } => commands::admin_remove(config, &email).await,
                    AdminCommand::ResetSecondFactor { email } => {
                        commands::admin_reset_second_factor(config, &email).await
                    }
                    AdminCommand::List => commands::admin_list(config).await,
                }
            }),
            Command::IssueServer { names, days, out } => {
                runtime.block_on(commands::issue_server(config, &names, days, &out))
            }
            Command::Check => commands::check(&config),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}
