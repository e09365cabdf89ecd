//! The commands about nodes.

use clap::Subcommand;
use noderr_protocol::Metric;

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
        /// At most so many nodes; without the option, 100 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
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
    /// List a node's install tokens, newest first.
    InstallTokens {
        /// The node.
        node: String,
    },
    /// Withdraw an install token: no box enrols with it any more.
    WithdrawToken {
        /// The node.
        node: String,
        /// The token's id, as `nodes install-tokens` shows it.
        #[arg(id = "install-token", value_name = "TOKEN")]
        token: String,
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
    /// Set the tier of a node, which says which channels are for it.
    Tier {
        /// The node.
        node: String,
        /// The tier: oracle, guardian, validator, none.
        tier: String,
    },
    /// Show what a node has made of the releases that it should hold.
    Releases {
        /// The node.
        node: String,
    },
    /// Revoke a node for good: its session ends within seconds and no new session begins.
    Revoke {
        /// The node.
        node: String,
        /// The reason; kept with the node and in the audit log.
        #[arg(long)]
        reason: String,
        /// Bar the TPM behind the node too: it then enrols under no node any more.
        #[arg(long)]
        bar_tpm: bool,
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
        /// At most so many samples; without the option, 20 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Read a node's alerts, newest first.
    Alerts {
        /// The node.
        node: String,
        /// At most so many alerts; without the option, 20 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
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
        /// At most so many attestations; without the option, 20 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Explain which components made a node's registers differ from its baseline.
    Explain {
        /// The node.
        node: String,
        /// The attestation's challenge, as `nodes attestations` shows it; without it, the newest that found a change.
        challenge: Option<String>,
    },
    /// Accept the registers that one attestation has shown as the node's baseline.
    AcceptBaseline {
        /// The node.
        node: String,
        /// The attestation's challenge, as `nodes attestations` shows it.
        challenge: String,
    },
}

/// A metric by its name.
fn metric(name: &str) -> Result<Metric, String> {
    let known = || Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
    let found = Metric::ALL.iter().find(|metric| metric.name() == name);
    found.copied().ok_or_else(|| format!("there is no such metric; there are {}", known()))
}
