//! Benchmarks: each prints what it measured against what, in one run.

mod asking;
mod fleet;
mod idle;
mod ingest;
mod link;
mod load;
mod process;
mod releases;
mod spool;

use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Bench {
    /// The link through the embedded broker against mosquitto.
    Link,
    /// Thousands of nodes at one control plane.
    Fleet,
    /// Ingest against raw inserts.
    Ingest,
    /// The spool against a plain segment file.
    Spool,
    /// What the control plane hands out of releases, against nginx.
    Releases,
    /// A node that does nothing but its duty.
    Idle,
    /// All benchmarks.
    All,
}

pub(crate) async fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Link => link::run().await,
        Bench::Fleet => fleet::run().await,
        Bench::Ingest => ingest::run().await,
        Bench::Spool => tokio::task::spawn_blocking(spool::run).await?,
        Bench::Releases => releases::run().await,
        Bench::Idle => idle::run().await,
        Bench::All => {
            for bench in
                [Bench::Link, Bench::Fleet, Bench::Ingest, Bench::Spool, Bench::Releases, Bench::Idle]
            {
                Box::pin(run(bench)).await?;
            }
            Ok(())
        }
    }
}

/// One line of a table: ours, theirs, and the ratio.
fn line(what: &str, unit: &str, ours: f64, theirs: f64) {
    println!("  {what:<44} {ours:>9.1} / {theirs:>9.1} {unit:<6} = {:.2}", ours / theirs);
}
