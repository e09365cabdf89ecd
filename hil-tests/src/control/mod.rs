//! A control plane as a process, which tests can start, stop, kill, and start again.

mod database;
mod files;
mod options;

pub use options::ControlOptions;

use crate::binaries::binary;
use crate::clock::faketime;
use crate::ports::free_ports;
use crate::wait::{SOON, ask_to_stop, start_logged};
use anyhow::{Context as _, bail, ensure};
use noderr_cli::Client;
use options::configuration;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// One control plane.
pub struct ControlPlane {
    folder: PathBuf,
    config: PathBuf,
    api: SocketAddr,
    broker: SocketAddr,
    process: Option<Child>,
    external_database: bool,
    authority: PathBuf,
    environment: Vec<(String, String)>,
}

impl ControlPlane {
    /// Writes the configuration. Does not start the control plane yet.
    pub fn new(folder: &Path, options: &ControlOptions) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(&folder)?;
        let (api, broker) = match options.ports {
            Some(ports) => ports,
            None => {
                let first = free_ports(2)?;
                (first, first + 1)
            }
        };
        let (api, broker) =
            (SocketAddr::from(([127, 0, 0, 1], api)), SocketAddr::from(([127, 0, 0, 1], broker)));
        let config = folder.join("control.toml");
        fs::write(&config, configuration(&folder, api, broker, options)?)?;
        let external_database = options.database_url.is_some();
        let authority = options.authority.clone().unwrap_or_else(|| folder.join("authority"));
        let environment = options.environment.clone();
        Ok(Self { folder, config, api, broker, process: None, external_database, authority, environment })
    }

    /// Starts the control plane and waits until it is ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Changes a line of the configuration, from the next start on.
    pub fn configure(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.config)?;
        ensure!(text.contains(from), "the configuration does not say `{from}`");
        Ok(fs::write(&self.config, text.replace(from, to))?)
    }

    /// Starts the control plane with its clock off, and its PostgreSQL's: `+5y`, `-2y`. Whoever has the right time can not ask
    /// it whether it is ready, and waits until it listens.
    pub async fn start_at(&mut self, offset: &str) -> anyhow::Result<()> {
        self.clock_offset(Some(offset))?;
        self.spawn()?;
        self.clock_offset(None)?;
        self.answers("listen", async |control| {
            for door in [control.api, control.broker] {
                tokio::net::TcpStream::connect(door).await?;
            }
            Ok(())
        })
        .await
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        self.process = Some(start_logged(self.command()?.arg("serve"), &self.log())?);
        Ok(())
    }

    /// The program with its configuration, and without the settings of the test's own environment.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("noderr-control")?);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("NODERR_") || name == "DATABASE_URL")
        {
            command.env_remove(name);
        }
        command.envs(self.environment.clone()).arg("--config").arg(&self.config);
        Ok(command)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        self.answers("be ready", async |control| Ok(control.anonymous()?.get("/ready").await.map(drop)?))
            .await
    }

    /// Waits until the control plane does what is asked of it, and fails with the end of its log.
    async fn answers(
        &mut self,
        what: &str,
        asked: impl AsyncFn(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + SOON;
        while let Err(error) = asked(self).await {
            let ended =
                self.process.as_mut().and_then(|process| process.try_wait().transpose()).transpose()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let tail = log.lines().rev().take(20).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                let state = ended.map_or_else(|| "runs".to_owned(), |status| format!("ended: {status}"));
                bail!(
                    "waited for the control plane to {what} ({error:#}); it {state}, and its log ends with\n{tail}"
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Moves the broker to another port, from the next start on.
    pub fn move_broker(&mut self) -> anyhow::Result<()> {
        let port = free_ports(1)?;
        let text = fs::read_to_string(&self.config)?;
        fs::write(&self.config, text.replace(&format!(":{}\"", self.broker.port()), &format!(":{port}\"")))?;
        self.broker.set_port(port);
        Ok(())
    }

    fn clock_offset(&mut self, offset: Option<&str>) -> anyhow::Result<()> {
        self.environment.retain(|(name, _)| name != "LD_PRELOAD" && !name.starts_with("FAKETIME"));
        if let Some(offset) = offset {
            let library = faketime()?.display().to_string();
            let settings = [
                ("LD_PRELOAD", library.as_str()),
                ("FAKETIME", offset),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ];
            self.environment.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Ok(())
    }

    /// Kills the process, as a power cut would.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Asks the control plane to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => ask_to_stop(process, "the control plane", Duration::from_secs(60)).await,
            None => Ok(()),
        }
    }

    /// Makes an administrator.
    pub async fn set_admin(&self, email: &str, password: &str) -> anyhow::Result<()> {
        let mut process = self
            .command()?
            .args(["admin", "set", email])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut input = process.stdin.take().context("no standard input")?;
        input.write_all(format!("{password}\n").as_bytes()).await?;
        drop(input);
        let done = process.wait_with_output().await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Runs another command of the program to its end; returns what the command printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = self.command()?.args(arguments).stdin(Stdio::null()).output().await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Logs in.
    pub async fn log_in(&self, email: &str, password: &str) -> anyhow::Result<Client> {
        let client = self.anonymous()?;
        let session = client.post("/sessions", &json!({ "email": email, "password": password })).await?;
        let token = session.get("token").and_then(Value::as_str).context("no token")?;
        Ok(client.with_token(token))
    }

    /// A client without a token.
    pub fn anonymous(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.api_url(), &self.root_pem()?, None)?)
    }

    /// The API's address.
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// The broker's address.
    pub const fn broker(&self) -> SocketAddr {
        self.broker
    }

    /// The addresses for boxes: the API's and the broker's.
    pub const fn doors(&self) -> (SocketAddr, SocketAddr) {
        (self.api, self.broker)
    }

    /// The API's URL.
    pub fn api_url(&self) -> String {
        format!("https://localhost:{}", self.api.port())
    }

    /// The network's root certificate.
    pub fn root_file(&self) -> PathBuf {
        self.authority.join("ca.pem")
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the network's authority.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    fn root_pem(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.root_file()).context("the authority is not made yet")
    }

    /// The file of the log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The id of the process.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }
}

impl Drop for ControlPlane {
    /// Kills the control plane and its PostgreSQL. A killed control plane leaves PostgreSQL running for the
    /// next start, but a test must leave nothing running.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process
            && let Err(error) = process.start_kill()
        {
            eprintln!("the control plane could not be killed: {error}");
        }
        if let Some(postmaster) = self.postmaster().filter(|_| !self.external_database) {
            // Immediate shutdown.
            if let Err(error) = kill_process(postmaster, Signal::QUIT) {
                eprintln!("PostgreSQL was gone already: {error}");
            }
        }
    }
}
