//! Benchmarks: each prints what it measured against what, in one run.

mod idle;
mod spool;

use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Bench {
    /// The spool against a plain segment file.
    Spool,
    /// A node that does nothing but its duty.
    Idle,
    /// All of them.
    All,
}

pub(crate) async fn run(bench: Bench) -> anyhow::Result<()> {
    if matches!(bench, Bench::Spool | Bench::All) {
        tokio::task::spawn_blocking(spool::run).await??;
    }
    if matches!(bench, Bench::Idle | Bench::All) {
        idle::run().await?;
    }
    Ok(())
}
