//! `noderr-hil`: the lab behind `./dev up`, and the long campaigns.

mod up;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

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
        /// Where everything lies, and where session.json is left.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
        /// Return once all boxes are online; `down` stops them.
        #[arg(long)]
        detach: bool,
        /// Go on with what an earlier run left instead of starting clean.
        #[arg(long)]
        resume: bool,
        /// How many boxes.
        #[arg(long, default_value_t = 3)]
        boxes: usize,
    },
    /// Stop what `up` started.
    Down {
        /// The folder given to `up`.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.command {
                Command::Up { folder, detach: true, resume, boxes } => {
                    up::detach(&folder, resume, boxes).await
                }
                Command::Up { folder, detach: false, resume, boxes } => up::up(&folder, resume, boxes).await,
                Command::Down { folder } => up::down(&folder).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noderr-hil: {error:#}");
            ExitCode::FAILURE
        }
    }
}
