//! The commands of a release manager. Publishing, the stick and the online key ask the control plane; the others need no network.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key: FILE, encrypted with a passphrase that is asked for, and FILE.pub for everybody. With --module and --token an
    /// HSM or a smart card makes the key and keeps it; FILE only says where the key is.
    New(NewKey),
    /// Write a key into another file, encrypted with another passphrase: a copy for a safe, or in place of a passphrase that
    /// somebody has seen.
    Export {
        /// The key's file.
        file: PathBuf,
        /// Where the copy is written; nothing may be there yet.
        copy: PathBuf,
    },
    /// Prepare every role in FOLDER that the key OLD signs, so that NEW signs in its place: for a key that is lost, or that
    /// was used long enough. The others sign as always.
    Rotate {
        /// The folder of the releases.
        folder: PathBuf,
        /// The old key: its public half OLD.pub, or its id, as `release sign` shows it.
        old: PathBuf,
        /// The public half of the new key, NEW.pub.
        new: PathBuf,
    },
    /// Prepare every role in FOLDER that the key signs, so that the key signs no more.
    Revoke {
        /// The folder of the releases.
        folder: PathBuf,
        /// The key: its public half FILE.pub, or its id, as `release sign` shows it.
        key: PathBuf,
    },
    /// Show the id and the public half of a key.
    Show {
        /// The key's file, or its FILE.pub.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct NewKey {
    /// Where the key is written; nothing may be there yet.
    pub(crate) file: PathBuf,
    /// The key of a builder, as `minisign` makes it, in place of one that signs what is released.
    #[arg(long, conflicts_with_all = ["module", "token", "label", "existing"])]
    pub(crate) builder: bool,
    /// The PKCS#11 library of the vendor of an HSM or a smart card.
    #[arg(long, requires = "token", value_name = "LIBRARY")]
    pub(crate) module: Option<PathBuf>,
    /// The label of the HSM's token; the token's PIN is asked for.
    #[arg(long, requires = "module", value_name = "LABEL")]
    pub(crate) token: Option<String>,
    /// The label of the key on the token; without it, the name of FILE.
    #[arg(long, requires = "token", value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Take the key that the token has under this label, in place of making one.
    #[arg(long, requires = "token")]
    pub(crate) existing: bool,
}

/// FOLDER is the folder of the releases, on a disk or a stick; it travels between those who sign.
#[derive(Subcommand)]
pub(crate) enum Release {
    #[command(flatten)]
    InFolder(InFolder),
    #[command(flatten)]
    AtControlPlane(AtControlPlane),
}

/// What needs no network.
#[derive(Subcommand)]
pub(crate) enum InFolder {
    /// Prepare the first root and the roles below it.
    Init(Init),
    /// Prepare a release of an artefact, which is packed into the folder.
    Add(Add),
    /// Prepare the withdrawal of a release that is signed.
    Withdraw {
        /// The folder.
        folder: PathBuf,
        /// The release, as `release list` shows it.
        release: String,
    },
    /// List whose signatures artefacts need; let others build artefacts, or not any more. Of a key that is removed nothing counts from
    /// then on: withdraw what it has built first.
    Builders {
        /// The folder.
        folder: PathBuf,
        /// The public half of a key of minisign that may build.
        #[arg(long)]
        add: Vec<PathBuf>,
        /// A key that may build no more: its public half, or the key as `release builders` lists it.
        #[arg(long)]
        remove: Vec<PathBuf>,
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
    /// Take back what is prepared and not signed by enough: a release, or the draft of a role with the signatures that it has.
    Discard {
        /// The folder.
        folder: PathBuf,
        /// Releases, such as os/generic/1.4.0, or roles, as `release show` names them.
        #[arg(required = true)]
        what: Vec<String>,
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
    /// Unpack the artefact of a release, with the builder's signature beside it, and check both.
    Unpack {
        /// The folder.
        folder: PathBuf,
        /// The release, as `release list` shows it.
        release: String,
        /// Where the artefact is written; nothing may be there yet.
        file: PathBuf,
    },
}

/// What asks the control plane.
#[derive(Subcommand)]
pub(crate) enum AtControlPlane {
    /// Fetch the public half of the control plane's key, for `release init --online`.
    OnlineKey {
        /// Where it is written; nothing may be there yet.
        file: PathBuf,
        /// Have the control plane make another key, which it uses once a root names the key.
        #[arg(long)]
        next: bool,
    },
    /// Publish the folder: the control plane checks it, and hands it out to nodes.
    Publish {
        /// The folder.
        folder: PathBuf,
        /// Send every archive that the control plane lacks, also those that it has removed because nobody used them.
        #[arg(long)]
        archives: bool,
    },
    /// Begin the folder anew from what the control plane has published, where no copy is left. What was prepared is lost, and whoever
    /// signs next holds the folder against what the own key has seen.
    Recover {
        /// The folder, which is made; what an earlier try has left is completed.
        folder: PathBuf,
    },
    /// Compare the folder with what is published: role by role, which of the two is newer, and whether they have gone different ways.
    Compare {
        /// The folder.
        folder: PathBuf,
    },
    /// Lay on a stick what boxes without a network need: what is published, what the control plane says of it, and the archives that
    /// channels have. Boxes take it for a week.
    Stick {
        /// The folder.
        folder: PathBuf,
        /// Where the stick is mounted: boxes look at its top, and at nothing below.
        stick: PathBuf,
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
    /// The control plane's key, which says day by day what is the newest, and which release each channel has.
    #[arg(long, value_name = "PUB")]
    pub(crate) online: PathBuf,
    /// The public half of a builder, whose signature every artefact needs; give the option once for each.
    #[arg(long, required = true, value_name = "PUB")]
    pub(crate) builder: Vec<PathBuf>,
    /// In how many days the roles end.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Args)]
pub(crate) struct Add {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The artefact.
    pub(crate) file: PathBuf,
    /// What it will be called: kind (os, models), name and version, such as os/generic/1.4.0.
    pub(crate) release: String,
    /// The key of the builder, which signs the artefact now; otherwise FILE.minisig is taken.
    #[arg(long, value_name = "KEY")]
    pub(crate) builder: Option<PathBuf>,
    /// Hardware that it runs on, such as x86_64; give the option once for each. Without: any.
    #[arg(long, value_name = "HARDWARE")]
    pub(crate) hardware: Vec<String>,
    /// Tiers that it is meant for; give the option once for each. Without: all.
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Vec<String>,
    /// Another release that must be there, in this version or a later one; give the option once for each.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) requires: Vec<String>,
    /// Raise this where what was before must never run again.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) security_epoch: u32,
    /// The version may be below the newest of its name.
    #[arg(long)]
    pub(crate) older: bool,
}
