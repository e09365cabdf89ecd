//! The commands of a release manager. None of them needs a network.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key: FILE, encrypted with a passphrase that is asked for, and FILE.pub for everybody.
    New {
        /// Where the key is written; nothing may be there yet.
        file: PathBuf,
    },
    /// Show the id and the public half of a key.
    Show {
        /// The key's file, or its FILE.pub.
        file: PathBuf,
    },
}

/// FOLDER is the folder of the releases, on a disk or a stick; it travels between those who sign.
#[derive(Subcommand)]
pub(crate) enum Release {
    /// Prepare the first root and the roles below it.
    Init(Init),
    /// Prepare a release of an artefact, which is copied into the folder.
    Add {
        /// The folder.
        folder: PathBuf,
        /// The artefact.
        file: PathBuf,
        /// Which kind it is: os, models.
        #[arg(long)]
        kind: String,
        /// What it is called: letters, digits and dashes.
        #[arg(long)]
        name: String,
        /// Its version, such as 1.4.0.
        #[arg(long = "release-version", value_name = "VERSION")]
        version: String,
    },
    /// Prepare the withdrawal of a release.
    Withdraw {
        /// The folder.
        folder: PathBuf,
        /// The release, as `release list` shows it.
        release: String,
    },
    /// Prepare every role anew, so that it ends later.
    Renew {
        /// The folder.
        folder: PathBuf,
        /// In how many days the roles end.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Show what is prepared, ask, and sign with a key what the key may sign. What is signed by enough is done.
    Sign {
        /// The folder.
        folder: PathBuf,
        /// The key's file; its FILE.pub lies beside it.
        #[arg(long)]
        key: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show every role, what is prepared, and who has yet to sign.
    Show {
        /// The folder.
        folder: PathBuf,
    },
    /// List the releases.
    List {
        /// The folder.
        folder: PathBuf,
    },
    /// Check everything in the folder: signatures, artefacts, ends.
    Verify {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Init {
    /// The folder, which is made.
    pub(crate) folder: PathBuf,
    /// The public halves (FILE.pub) of those who sign roots; give the option once for each.
    #[arg(long = "root", required = true, value_name = "PUB")]
    pub(crate) root: Vec<PathBuf>,
    /// How many of them must sign a root.
    #[arg(long, default_value_t = 2)]
    pub(crate) threshold: usize,
    /// Who signs which roles there are.
    #[arg(long, value_name = "PUB")]
    pub(crate) targets: PathBuf,
    /// Who signs releases of the OS.
    #[arg(long, value_name = "PUB")]
    pub(crate) os: PathBuf,
    /// Who signs releases of models.
    #[arg(long, value_name = "PUB")]
    pub(crate) models: PathBuf,
    /// The control plane's key, which says day by day that nothing newer is hidden.
    #[arg(long, value_name = "PUB")]
    pub(crate) online: PathBuf,
    /// In how many days the roles end.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}
