//! A real mosquitto with the configuration that docs/admin.md shows, on a port of its own.

use crate::until;
use anyhow::Context as _;
use noderr_ca::{Authority, FileKey};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::process::{Child, Command};

const DAY: Duration = Duration::from_secs(86_400);

/// The guide for admins, from which the configuration is taken.
const GUIDE: &str = include_str!("../../docs/admin.md");

/// A broker beside the control plane.
pub struct Mosquitto {
    folder: PathBuf,
    address: SocketAddr,
    /// Where the control planes connect.
    inner: SocketAddr,
    process: Option<Child>,
}

impl Mosquitto {
    /// Makes mosquitto's certificates with the authority in `authority`, which is made if need be, and starts
    /// mosquitto.
    pub async fn start(folder: &Path, authority: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, authority, |shown| shown).await
    }

    /// Starts mosquitto with what `change` makes of the guide's configuration.
    pub async fn start_with(
        folder: &Path,
        authority: &Path,
        change: impl FnOnce(String) -> String,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let (authority, now) = write_server(folder, authority)?;
        fs::write(folder.join("noderr.crl"), authority.revocation_list(&[], 1, now, DAY)?)?;
        fs::write(folder.join("acl"), shown_after("and as `acl`:")?)?;
        let doors = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
        let [address, inner] = [doors[0].local_addr()?, doors[1].local_addr()?];
        let shown = shown_after("With mosquitto:")?
            .replace("listener 8883", &format!("listener {} 127.0.0.1", address.port()))
            .replace("listener 8884", &format!("listener {} 127.0.0.1", inner.port()));
        let shown = change(shown);
        fs::write(folder.join("mosquitto.conf"), format!("{shown}user root\n"))?;
        let mut broker = Self { folder: folder.to_owned(), address, inner, process: None };
        drop(doors);
        broker.power_on().await?;
        Ok(broker)
    }

    /// Starts mosquitto again after [`Self::power_cut`].
    pub async fn power_on(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let process = Command::new("mosquitto")
            .args(["-c", "mosquitto.conf"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run mosquitto")?;
        self.process = Some(process);
        let address = self.address;
        until("mosquitto to listen", Duration::from_secs(10), || async move {
            Ok(TcpStream::connect(address).ok().map(drop))
        })
        .await
    }

    /// Kills mosquitto.
    pub async fn power_cut(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => Ok(process.kill().await?),
            None => Ok(()),
        }
    }

    /// Makes mosquitto read its files again.
    pub fn reload(&self) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.context("mosquitto does not run")?, Signal::HUP)?)
    }

    /// The id of the process.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// The address on which mosquitto listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The revocation list that mosquitto reads.
    pub fn revocations(&self) -> PathBuf {
        self.folder.join("noderr.crl")
    }

    /// The line of the control plane's `[broker]` that names this mosquitto.
    pub fn setting(&self) -> String {
        format!(
            "external = {{ host = \"localhost\", port = {}, revocation_list = \"{}\" }}",
            self.inner.port(),
            self.revocations().display()
        )
    }
}

/// Writes `server.pem`, `server.key` and `ca.pem` for a server on this machine, with the authority in `authority`, which is made
/// if need be.
pub(crate) fn write_server(folder: &Path, authority: &Path) -> anyhow::Result<(Authority, i64)> {
    fs::create_dir_all(authority)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
    let key = Arc::new(FileKey::open_or_create(&authority.join("ca.key"))?);
    let authority = Authority::open(authority, "demo", key, now)?;
    let server = authority.issue_server(&["localhost".to_owned()], now, DAY)?;
    let chain: Vec<_> = server.chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    fs::write(folder.join("ca.pem"), authority.root_pem())?;
    fs::write(folder.join("server.pem"), pem::encode_many(&chain))?;
    let key = pem::Pem::new("PRIVATE KEY", server.key.secret_der());
    fs::write(folder.join("server.key"), pem::encode(&key))?;
    Ok((authority, now))
}

/// The indented lines that the guide shows after `words`.
fn shown_after(words: &str) -> anyhow::Result<String> {
    let (_, rest) = GUIDE.split_once(words).with_context(|| format!("the guide does not say `{words}`"))?;
    let lines = rest.lines().skip_while(|line| !line.starts_with("    "));
    let shown = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    Ok(shown.map(|line| format!("{}\n", line.trim())).collect())
}
