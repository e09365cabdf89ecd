//! `noderr-node status`: asks the running node over the status socket and prints the answer.

use crate::config::Config;
use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub(crate) fn status(path: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let socket = &config.status.socket;
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("no node listens on {}; is it running? `systemctl status noderr-node`", socket.display())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let page = if json { "/status" } else { "/status.txt" };
    write!(stream, "GET {page} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the node did not answer")?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => print!("{body}"),
        _ => bail!("the node's answer is not understood"),
    }
    Ok(())
}
