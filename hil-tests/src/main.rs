//! `noderr-hil`: the lab behind `./dev up`, the long campaigns, the benchmarks.

mod bench;
mod up;

use clap::{Parser, Subcommand, ValueEnum};
use noderr_hil::campaign::{self, Planes};
use noderr_hil::victim;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a whole campaign cuts the network.
const CUT: Duration = Duration::from_secs(600);

/// Rigs and labs for Noderr.
#[derive(Parser)]
#[command(name = "noderr-hil", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a control plane, an operator and three boxes, and keep them until Ctrl-C.
    Up {
        /// The folder for everything, and for session.json.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
        /// Return once all boxes are online; `down` stops them.
        #[arg(long)]
        detach: bool,
        /// Go on with what an earlier run left instead of starting clean.
        #[arg(long)]
        resume: bool,
        /// The number of boxes.
        #[arg(long, default_value_t = 3)]
        boxes: usize,
    },
    /// Stop what `up` started.
    Down {
        /// The folder given to `up`.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
    },
    /// Run a campaign, which the suite runs in a short form, in its whole length.
    Campaign {
        /// The campaign.
        name: Campaign,
        /// The seed of an earlier run, to repeat it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Write to a disk until killed; for tests that cut its power.
    #[command(hide = true)]
    Rehearse {
        /// What is written.
        what: Rehearsal,
        /// The boot epoch.
        epoch: u64,
        /// The first number.
        first: u64,
        /// Where.
        folder: PathBuf,
    },
    /// Bring a release to its end, for a campaign that kills the process meanwhile.
    #[command(hide = true)]
    Bring {
        /// The server.
        #[arg(long)]
        address: String,
        /// The release.
        #[arg(long)]
        release: String,
        /// File with the root.
        #[arg(long)]
        root: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// Measure, as ratios in one run.
    Bench {
        /// The benchmark.
        name: bench::Bench,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Rehearsal {
    Append,
    Write,
}

#[derive(Clone, Copy, ValueEnum)]
enum Campaign {
    /// kill -9 of a loaded node at 50 random moments.
    Kills,
    /// Broker, control plane, PostgreSQL and, for ten minutes, the network go away under load.
    Outages,
    /// The outages with the boxes spread over two control planes on one database.
    Planes,
    /// kill -9 of a box in the middle of transfers, 500 times.
    Fetch,
    /// An artefact of 4.5 GiB, packed, published, fetched and updated (takes 30 GB of disk).
    Large,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(arguments.command)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-hil: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { folder, detach: true, resume, boxes } => up::detach(&folder, resume, boxes).await,
        Command::Up { folder, detach: false, resume, boxes } => up::up(&folder, resume, boxes).await,
        Command::Down { folder } => up::down(&folder).await,
        Command::Campaign { name, seed } => {
            let seed = seed.unwrap_or_else(rand::random);
            let folder = noderr_hil::scratch()?;
            match name {
                Campaign::Kills => campaign::kills(folder.path(), 50, seed).await,
                Campaign::Outages => campaign::outages(folder.path(), Planes::One, CUT, seed).await,
                Campaign::Fetch => campaign::fetches(folder.path(), 500, seed).await,
                Campaign::Large => campaign::large(folder.path(), 4608).await,
                Campaign::Planes => campaign::outages(folder.path(), Planes::Two, CUT, seed).await,
            }
        }
        Command::Rehearse { what: Rehearsal::Append, epoch, first, folder } => {
            victim::append(&folder, epoch, first)
        }
        Command::Rehearse { what: Rehearsal::Write, first, folder, .. } => victim::write(&folder, first),
        Command::Bring { address, release, root, data } => {
            campaign::bring(&data, &address, &root, &release).await
        }
        Command::Bench { name } => bench::run(name).await,
    }
}
