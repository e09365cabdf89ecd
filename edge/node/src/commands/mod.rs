//! One file for each command of the CLI.

mod check;
mod enrol;
mod run;
mod status;

pub(crate) use check::check;
pub(crate) use enrol::enrol;
pub(crate) use run::run;
pub(crate) use status::status;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Two workers: one may be inside a handshake that waits for the TPM.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Text on a terminal, JSON for a log collector.
fn init_logs() {
    // libtss2 writes errors of its own to the terminal; ours say the same in context.
    let filter = EnvFilter::try_from_env("NODERR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(SystemTime).with_writer(std::io::stderr);
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) { logs.init() } else { logs.json().init() }
}
