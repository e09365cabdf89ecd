//! The commands about what the control plane hands out.

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Published {
    /// List published releases, newest first.
    List {
        /// Only releases of this kind: os, models.
        #[arg(long)]
        kind: Option<String>,
        /// Only releases of this name.
        #[arg(long)]
        name: Option<String>,
        /// At most so many releases; without the option, 100 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one release: sizes, and how many nodes are how far with it.
    Show {
        /// The release, such as os/generic/1.4.0.
        release: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Channels {
    /// List the channels, and the version that each has.
    List {
        /// At most so many channels; without the option, 100 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Make a release what nodes should hold: they fetch it within seconds.
    Activate {
        /// The release, such as os/generic/1.4.0.
        release: String,
        #[command(flatten)]
        channel: Channel,
    },
    /// Take a channel's release away: its nodes get what the next channel has that fits them, which may be an older version; where none
    /// does, they need hold no version any more, and keep what they have.
    Deactivate {
        /// Kind and name, such as os/generic.
        series: String,
        #[command(flatten)]
        channel: Channel,
    },
    /// List what channels had when, newest first.
    History {
        /// At most so many entries; without the option, 50 in a table, and all of them as JSON.
        #[arg(long)]
        limit: Option<usize>,
    },
}

#[derive(Args)]
pub(crate) struct Channel {
    /// Only nodes of this tier: oracle, guardian, validator.
    #[arg(long, default_value = "all")]
    pub(crate) tier: String,
    /// Only nodes of this architecture, such as `x86_64`.
    #[arg(long, default_value = "any")]
    pub(crate) hardware: String,
}
