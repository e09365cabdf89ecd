//! One file for each command of the CLI.

mod admin;
mod check;
mod issue;
mod migrate;
mod serve;

pub(crate) use admin::{admin_list, admin_remove, admin_reset_second_factor, admin_set};
pub(crate) use check::check;
pub(crate) use issue::issue_server;
pub(crate) use migrate::migrate;
pub(crate) use serve::serve;

use tracing_subscriber::EnvFilter;

/// The runtime, and the log: text on a terminal, JSON for a collector.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let filter = EnvFilter::try_from_env("NODERR_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,rumqttd=warn,rumqttc=warn,sqlx=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        logs.init()
    } else {
        logs.json().init()
    }
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
