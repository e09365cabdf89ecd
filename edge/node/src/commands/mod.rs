//! One file for each command of the CLI.

mod check;
mod enrol;
mod releases;
mod run;
mod status;

pub(crate) use check::check;
pub(crate) use enrol::enrol;
pub(crate) use releases::releases;
pub(crate) use run::run;
pub(crate) use status::status;

use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long a thread for work that takes its time waits for more of it: some work comes every few seconds, and would keep the
/// threads of the start-up, each with a stack, for ever.
const THREAD_WAITS: Duration = Duration::from_secs(1);

/// A runtime of one thread for everything that only waits. Work that takes its time (the disk, the TPM, a
/// handshake that the TPM signs) has threads of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(THREAD_WAITS).build()?)
}

/// Starts logging: text on a terminal, JSON for a log collector. `NODERR_LOG` sets the filter, such as
/// `info,noderr_link=debug`.
fn init_logs() {
    let asked = std::env::var("NODERR_LOG").ok().and_then(|words| words.parse().ok());
    let filter = asked.unwrap_or_else(|| {
        // tss-esapi logs every handle that it closes.
        Targets::new().with_default(LevelFilter::INFO).with_target("tss_esapi", LevelFilter::WARN)
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = if terminal { lines.boxed() } else { lines.json().boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
