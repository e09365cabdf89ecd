//! Speaks the client protocol of the public TUF conformance suite over the code that the node runs:
//! `pytest tuf_conformance --entrypoint target/debug/examples/conformance`.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use noderr_update::{Fetcher, Limits, Reach, Repository, Target, Trust};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Parser)]
struct Arguments {
    /// Where trusted metadata is kept.
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long, default_value = "")]
    metadata_url: String,
    #[arg(long)]
    target_name: Vec<String>,
    #[arg(long, default_value = "")]
    target_base_url: String,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trust a root.
    Init { root: PathBuf },
    /// Ask for the newest metadata.
    Refresh,
    /// Ask for the newest metadata, and fetch targets that the folder lacks.
    Download,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let kept = arguments.metadata_dir.join("root.json");
    if let Command::Init { root } = &arguments.command {
        fs::create_dir_all(&arguments.metadata_dir)?;
        fs::copy(root, &kept).with_context(|| format!("cannot copy {}", root.display()))?;
        return Ok(());
    }
    let repository = Repository::Server {
        fetcher: Fetcher::plain(Reach::Anywhere),
        metadata: arguments.metadata_url.clone(),
        targets: arguments.target_base_url.clone(),
    };
    let root = fs::read(&kept).with_context(|| format!("cannot read {}", kept.display()))?;
    let mut trust =
        Trust::open(&arguments.metadata_dir, &root, repository, Limits { target_bytes: 50_000_000 })?;
    trust.refresh(SystemTime::now()).await?;
    if let Command::Download = arguments.command {
        let folder = arguments.target_dir.context("--target-dir is missing")?;
        for name in &arguments.target_name {
            let target = trust.target(name, SystemTime::now()).await?;
            download(&trust, &target, &folder).await?;
        }
    }
    Ok(())
}

async fn download(trust: &Trust, target: &Target, folder: &Path) -> anyhow::Result<()> {
    // A name may hold anything, and must not lead out of the folder.
    let place = folder.join(target.name().replace('/', "%2F"));
    if fs::read(&place).is_ok_and(|there| target.is(&there)) {
        return Ok(());
    }
    fs::write(&place, trust.read(target).await?).with_context(|| format!("cannot write {}", place.display()))
}
