//! The command line of `noderrctl`.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use noderr_protocol::Metric;
use std::path::PathBuf;

/// Steer a Noderr network.
#[derive(Parser)]
#[command(name = "noderrctl", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Connection {
    /// The control plane, like https://control.example.org:8443. Remembered by `login`.
    #[arg(long, global = true, env = "NODERR_URL")]
    pub(crate) url: Option<String>,
    /// File with the network's root certificate (PEM). Remembered by `login`.
    #[arg(long, global = true, env = "NODERR_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// An API token instead of a login.
    #[arg(long, global = true, env = "NODERR_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Log in; password and code, if your account has a second factor, are read from the terminal or from standard input.
    Login {
        /// Your e-mail address.
        email: String,
    },
    /// Log out and forget the login.
    Logout,
    /// Your second factor: the codes of an authenticator app, asked for at every login.
    #[command(subcommand)]
    SecondFactor(SecondFactor),
    /// Is the control plane ready?
    Status,
    /// Operators: the people who run boxes.
    #[command(subcommand, visible_alias = "operator")]
    Operators(Operators),
    /// Nodes: the boxes.
    #[command(subcommand, visible_alias = "node")]
    Nodes(Nodes),
    /// API tokens.
    #[command(subcommand, visible_alias = "token")]
    Tokens(Tokens),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Work that the control plane gave up after many attempts.
    #[command(subcommand)]
    Work(Work),
    /// Print a completion script for your shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum SecondFactor {
    /// Does your account have a second factor?
    Status,
    /// Set a second factor up: reads your password, shows a secret for the app, reads a first code.
    On,
    /// Remove the second factor, with your password and a code.
    Off,
}

#[derive(Subcommand)]
pub(crate) enum Operators {
    /// List operators, newest first.
    List {
        /// Only operators in this state: applied, approved, suspended.
        #[arg(long)]
        state: Option<String>,
        /// At most so many operators.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Add an operator, who then waits for a decision.
    Add {
        /// The operator's name.
        name: String,
        /// The operator's e-mail address.
        email: String,
    },
    /// Show one operator.
    Show {
        /// The operator: an id, the beginning of one, an e-mail address or a name.
        operator: String,
    },
    /// Approve an operator: nodes may be added for them.
    Approve {
        /// The operator: an id, the beginning of one, an e-mail address or a name.
        operator: String,
    },
    /// Suspend an operator: the sessions of the operator's nodes end within seconds, and no new session
    /// begins until the operator is approved again.
    Suspend {
        /// The operator: an id, the beginning of one, an e-mail address or a name.
        operator: String,
    },
}

/// A node may be named by its id, the beginning of its id, or its label.
#[derive(Subcommand)]
pub(crate) enum Nodes {
    /// List nodes, newest first.
    List {
        /// Only nodes that are online (true) or are not (false).
        #[arg(long)]
        online: Option<bool>,
        /// Only nodes of this operator.
        #[arg(long)]
        operator: Option<String>,
        /// Only nodes with this identity: tpm, software.
        #[arg(long)]
        identity: Option<String>,
        /// Only nodes that are revoked (true) or are not (false).
        #[arg(long)]
        revoked: Option<bool>,
        /// At most so many nodes.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Give an approved operator a node.
    Add {
        /// The operator: an id, the beginning of one, an e-mail address or a name.
        operator: String,
        /// What people will call the node.
        label: String,
    },
    /// Show one node.
    Show {
        /// The node.
        node: String,
    },
    /// Issue an install token for a node's box.
    InstallToken {
        /// The node.
        node: String,
    },
    /// Let a node take no work; it stays connected.
    Pause {
        /// The node.
        node: String,
    },
    /// Let a paused node work again.
    Resume {
        /// The node.
        node: String,
    },
    /// Set the seconds between a node's telemetry samples.
    SampleEvery {
        /// The node.
        node: String,
        /// The seconds, 1 to 3600.
        seconds: u16,
    },
    /// Revoke a node for good: its session ends within seconds and no new session begins.
    Revoke {
        /// The node.
        node: String,
        /// The reason; kept with the node and in the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Unbind a node from its TPM, so that another box may enrol under its id.
    Unbind {
        /// The node.
        node: String,
    },
    /// Read a node's telemetry, newest first.
    Telemetry {
        /// The node.
        node: String,
        /// Only these metrics; without the option, the most important ones.
        #[arg(long = "metric", value_delimiter = ',', value_parser = metric)]
        metrics: Vec<Metric>,
        /// At most so many samples.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Read a node's alerts, newest first.
    Alerts {
        /// The node.
        node: String,
        /// At most so many alerts.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// How far each of a node's lanes is committed.
    Lanes {
        /// The node.
        node: String,
    },
    /// Ask a node for an attestation now.
    Attest {
        /// The node.
        node: String,
    },
    /// List a node's attestations, newest first.
    Attestations {
        /// The node.
        node: String,
        /// At most so many attestations.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Accept the registers that one attestation has shown as the node's baseline.
    AcceptBaseline {
        /// The node.
        node: String,
        /// The attestation's challenge, as `nodes attestations` shows it.
        challenge: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Tokens {
    /// List API tokens, newest first.
    List,
    /// Issue an API token.
    Create {
        /// What the token is for.
        name: String,
        /// What the token may do, such as read-nodes; an unknown name is answered with all that there are.
        #[arg(long = "permission", short, required = true, value_delimiter = ',')]
        permissions: Vec<String>,
        /// Bind the token to one operator: the token sees that operator's rows and may only read.
        #[arg(long)]
        operator: Option<String>,
        /// Days the token is good for, at most 365; 90 by default.
        #[arg(long)]
        expires_in_days: Option<u16>,
    },
    /// Revoke an API token and all tokens that were issued with it; all of them stop working at once.
    Revoke {
        /// The token's id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Work {
    /// List work that was given up, newest first, and why its last attempt failed.
    List {
        /// At most so many pieces of work.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Try a piece of work again, from its first attempt on.
    Retry {
        /// The id of the piece.
        id: String,
    },
    /// Forget a piece of work: it is never done.
    Forget {
        /// The id of the piece.
        id: String,
    },
}

/// A metric by its name.
fn metric(name: &str) -> Result<Metric, String> {
    let known = || Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
    let found = Metric::ALL.iter().find(|metric| metric.name() == name);
    found.copied().ok_or_else(|| format!("there is no such metric; there are {}", known()))
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Read the audit log, newest first.
    List {
        /// Only entries about this subject: the whole id of a node, an operator or a token, or an administrator's e-mail
        /// address.
        #[arg(long)]
        subject: Option<String>,
        /// At most so many entries.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Check that no entry was changed, and that none is missing between others. Prints the number of entries
    /// and the newest entry's hash: kept elsewhere, both show later whether entries were cut off the end.
    Check,
}
