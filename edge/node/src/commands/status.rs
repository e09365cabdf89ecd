//! `noderr-node status`: asks the running node over the status socket and prints the answer.

use crate::config::Config;
use crate::status::Status;
use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// For scripts: the node runs and is not online, or a health check fails.
const NOT_WELL: u8 = 3;

pub(crate) fn status(path: &Path, json: bool) -> anyhow::Result<(String, ExitCode)> {
    let (status, body) = ask(path)?;
    let shown = if json { format!("{body}\n") } else { status.text() };
    Ok((shown, if status.is_well() { ExitCode::SUCCESS } else { NOT_WELL.into() }))
}

/// Asks the running node; returns what it says, and the words themselves.
pub(super) fn ask(path: &Path) -> anyhow::Result<(Status, String)> {
    let config = Config::load(path)?;
    let socket = &config.status.socket;
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("no node listens on {}; is it running? `systemctl status noderr-node`", socket.display())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET /status HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the node did not answer")?;
    let body = match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => body,
        _ => bail!("the node's answer is not understood"),
    };
    let status = serde_json::from_str(body).context("the node's answer is not understood")?;
    Ok((status, body.to_owned()))
}
