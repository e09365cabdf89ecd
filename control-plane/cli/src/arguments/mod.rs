//! The command line of `noderrctl`.

mod nodes;
mod published;
mod release;

pub(crate) use nodes::Nodes;
pub(crate) use published::{Channel, Channels, Published};
pub(crate) use release::{Add, AtControlPlane, InFolder, Init, Keys, NewKey, Release};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the control plane, 4 control plane out of reach";

/// Steer a Noderr network.
#[derive(Parser)]
#[command(name = "noderrctl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON instead of tables.
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
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
    /// TPMs that are barred from the network.
    #[command(subcommand, visible_alias = "tpm")]
    Tpms(Tpms),
    /// Values of registers that are expected of the whole fleet.
    #[command(subcommand)]
    Registers(Registers),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Work that the control plane gave up after many attempts.
    #[command(subcommand)]
    Work(Work),
    /// Keys that sign releases; no network is needed.
    #[command(subcommand, visible_alias = "key")]
    Keys(Keys),
    /// Releases in a folder: prepare, sign, check, for which no network is needed; and publish.
    #[command(subcommand)]
    Release(Release),
    /// Releases that the control plane hands out.
    #[command(subcommand)]
    Published(Published),
    /// Channels: which release nodes should hold.
    #[command(subcommand, visible_alias = "channel")]
    Channels(Channels),
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
        /// At most so many operators; without the option, 100 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
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

#[derive(Subcommand)]
pub(crate) enum Tpms {
    /// List barred TPMs.
    List {
        /// At most so many TPMs; without the option, 100 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Let a barred TPM in again.
    Admit {
        /// The fingerprint of its endorsement key.
        tpm: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Registers {
    /// List the expected values.
    List,
    /// Expect a value of a register from the whole fleet, such as an update brings.
    Expect {
        /// The register, 0 to 23.
        register: u16,
        /// Its SHA-256 value, 64 hexadecimal digits.
        value: String,
        /// Where the value comes from.
        #[arg(long)]
        note: String,
    },
    /// Expect a value no longer.
    Forget {
        /// The register.
        register: u16,
        /// Its value.
        value: String,
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
        /// The token: its id, the beginning of it, or its name.
        #[arg(id = "named-token", value_name = "TOKEN")]
        token: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Work {
    /// List work that was given up, newest first, and why its last attempt failed.
    List {
        /// At most so many pieces of work; without the option, 50 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
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

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Read the audit log, newest first.
    List {
        /// Only entries about this subject: a node (its id, the beginning of it, or its label), or the whole id of an operator,
        /// an administrator or a token.
        #[arg(long)]
        subject: Option<String>,
        /// At most so many entries; without the option, 50 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Check that no entry was changed, and that none is missing between others. Prints the number of entries
    /// and the newest entry's hash: kept elsewhere, both show later whether entries were cut off the end.
    Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_named_is_not_the_token_that_asks() {
        for words in [vec!["tokens", "revoke", "one"], vec!["nodes", "withdraw-token", "box", "one"]] {
            let words = ["noderrctl", "--token", "mine"].into_iter().chain(words);
            let parsed = Arguments::try_parse_from(words).ok();
            let token = parsed.and_then(|parsed| parsed.connection.token);
            assert_eq!(token.as_deref(), Some("mine"));
        }
    }
}
