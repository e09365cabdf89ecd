//! The commands of `noderr-control`, one file each.

mod admin;
mod check;
mod issue;
mod migrate;
mod serve;

use clap::{Parser, Subcommand};
use noderr_kernel::{Database, Role};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

/// How long work in the background may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The Noderr control plane.
#[derive(Parser)]
#[command(name = "noderr-control", version, arg_required_else_help = true)]
pub struct Arguments {
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
        /// The host names and addresses of the broker.
        #[arg(required = true)]
        names: Vec<String>,
        /// Days the certificate is good for.
        #[arg(long, default_value_t = 365)]
        days: u16,
        /// Where to write server.pem and server.key; neither may exist yet.
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
    /// Read the configuration and say what is wrong with it, or what it means.
    Check,
    /// Print a configuration with every setting, its default, and what it means.
    Example,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Add an administrator, or set a new password for one. The password is read from standard input.
    Set {
        /// The administrator's e-mail address.
        email: String,
        /// A role: owner, fleet, reviewer, auditor or releases; may be given several times. Without a role, a new
        /// administrator is an owner.
        #[arg(long = "role")]
        roles: Vec<Role>,
    },
    /// Change the roles of an administrator, who keeps password and sessions.
    Roles {
        /// The administrator's e-mail address.
        email: String,
        /// The roles: owner, fleet, reviewer, auditor, releases.
        #[arg(required = true)]
        roles: Vec<Role>,
    },
    /// Remove an administrator with all sessions and tokens.
    Remove {
        /// The administrator's e-mail address.
        email: String,
    },
    /// Remove the second factor of an administrator who has lost it, and end the administrator's sessions.
    ResetSecondFactor {
        /// The administrator's e-mail address.
        email: String,
    },
    /// List the administrators.
    List,
}

/// Runs the command; returns what is to be printed.
pub fn run(arguments: Arguments) -> anyhow::Result<String> {
    let runtime = runtime()?;
    let said = done(&runtime, arguments);
    // A file that is being hashed is hashed again at the next start.
    runtime.shutdown_timeout(FAREWELL);
    said
}

fn done(runtime: &Runtime, arguments: Arguments) -> anyhow::Result<String> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Serve => runtime.block_on(serve::serve(config)).map(|()| String::new()),
        Command::Migrate => runtime.block_on(migrate::migrate(config)),
        Command::Admin { command } => runtime.block_on(async {
            match command {
                AdminCommand::Set { email, roles } => admin::set(config, &email, &roles).await,
                AdminCommand::Roles { email, roles } => admin::set_roles(config, &email, &roles).await,
                AdminCommand::Remove { email } => admin::remove(config, &email).await,
                AdminCommand::ResetSecondFactor { email } => admin::reset_second_factor(config, &email).await,
                AdminCommand::List => admin::list(config).await,
            }
        }),
        Command::IssueServer { names, days, out } => {
            runtime.block_on(issue::issue_server(config, &names, days, &out))
        }
        Command::Check => check::check(config),
        Command::Example => Ok(crate::features::example_configuration()),
    }
}

/// Starts the log (text on a terminal, JSON for a collector) and the runtime.
fn runtime() -> anyhow::Result<Runtime> {
    let filter = EnvFilter::try_from_env("NODERR_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,rumqttd=warn,rumqttc=warn,sqlx=warn,rustls=error"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        logs.init()
    } else {
        logs.json().init()
    }
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Opens the database of a configuration, runs `work`, and closes the database whatever the outcome.
async fn with_database<T>(
    config: Option<&Path>,
    work: impl AsyncFnOnce(&noderr_kernel::Configuration, &Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let configuration = crate::features::load_configuration(config)?;
    let database =
        Database::open(configuration.base(), &configuration.section()?, &crate::MIGRATIONS).await?;
    let done = work(&configuration, &database).await;
    database.close().await;
    done
}
