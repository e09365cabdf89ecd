//! The process rig: the node's binary beside a swtpm, behind two cables, with a data folder that may be a
//! small disk.

use super::unit::{as_nobody, environment_of_unit};
use super::{BoxOptions, SmallDisk};
use crate::binaries::binary;
use crate::clock::faketime;
use crate::forgetful::ForgetfulDisk;
use crate::proxy::{LinkQuality, Proxy};
use crate::tpm::{SoftTpm, TpmVendor};
use crate::wait::{ask_to_stop, start_logged};
use anyhow::{Context as _, ensure};
use noderr_attestation::write_event_log;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};

/// One box.
pub struct ProcessRig {
    name: String,
    folder: PathBuf,
    config: PathBuf,
    program: PathBuf,
    tpm: Option<SoftTpm>,
    api: Proxy,
    broker: Proxy,
    node: Option<Child>,
    clock_offset: Option<String>,
    environment: Vec<(String, PathBuf)>,
    unprivileged: bool,
    small_disk: Option<SmallDisk>,
    forgetful_disk: Option<ForgetfulDisk>,
}

impl ProcessRig {
    /// Makes the box with its TPM, cables and configuration, switched off.
    pub async fn make(
        folder: &Path,
        name: &str,
        vendor: &TpmVendor,
        (api, broker): (SocketAddr, SocketAddr),
        roots: &Path,
        install_token: &str,
        options: &BoxOptions,
    ) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let tpm = if options.software {
            None
        } else {
            let state = folder.join("tpm");
            vendor.make(&state).await?;
            let mut tpm = SoftTpm::new(&state)?;
            tpm.on().await?;
            Some(tpm)
        };
        let (api, broker) = (Proxy::start(vec![api]).await?, Proxy::start(vec![broker]).await?);
        let mut rig = Self {
            name: name.to_owned(),
            config: folder.join("node.toml"),
            program: match &options.program {
                Some(program) => program.clone(),
                None => binary("noderr-node")?,
            },
            folder,
            tpm,
            api,
            broker,
            node: None,
            clock_offset: None,
            environment: Vec::new(),
            unprivileged: options.unprivileged,
            small_disk: None,
            forgetful_disk: None,
        };
        if options.unprivileged {
            rig.give_to_nobody()?;
        }
        match options.disk_mib {
            Some(mib) if options.forgetful => {
                rig.forgetful_disk = Some(ForgetfulDisk::mount(&rig.data(), mib as usize)?);
            }
            Some(mib) => rig.small_disk = Some(SmallDisk::mount(&rig.data(), mib)?),
            None => {}
        }
        fs::write(&rig.config, rig.configuration(roots, install_token, options))?;
        fs::write(rig.event_log(), write_event_log(&[]))?;
        Ok(rig)
    }

    fn configuration(&self, roots: &Path, install_token: &str, options: &BoxOptions) -> String {
        let identity = match &self.tpm {
            Some(tpm) => format!(
                "keys = \"tpm\"\ntcti = \"{}\"\ntpm_deadline_s = 2\nevent_log = \"{}\"",
                tpm.tcti(),
                self.event_log().display()
            ),
            None => "keys = \"software\"".to_owned(),
        };
        let load = options.sample_every_ms.map(|ms| format!("sample_every_ms = {ms}\n")).unwrap_or_default();
        let broker = match options.follows_papers {
            true => String::new(),
            false => format!("broker = \"localhost:{}\"\n", self.broker.address().port()),
        };
        format!(
            "[control_plane]\nurl = \"https://localhost:{api}\"\nroots = \"{roots}\"\ninstall_token = \"{install_token}\"\n\
             deadline_s = 5\nclock_patience_s = {patience}\n\n[identity]\n{identity}\n\n[storage]\ndata = \"{data}\"\nspool_mib = {spool}\n\n\
             [telemetry]\nsample_every_s = 1\n{load}batch = 5\nbatch_every_s = 2\n\n\
             [link]\n{broker}heartbeat_every_s = 2\nlongest_pause_s = 2\n\n\
             [releases]\n{releases}\n\n[status]\nsocket = \"{socket}\"\n",
            releases = options.releases,
            api = self.api.address().port(),
            patience = options.clock_patience_s.unwrap_or(3600),
            roots = roots.display(),
            data = self.data().display(),
            socket = self.socket().display(),
            spool = options.spool_mib.unwrap_or(64),
        )
    }

    /// Where the box's firmware writes what it measures. Nothing does at first, as nothing is measured into a TPM of a rig.
    pub fn event_log(&self) -> PathBuf {
        self.config.with_extension("event-log")
    }

    /// Switches the box on: starts the node. The TPM has been on since the box was made, unless a test
    /// switched it off.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        ensure!(self.node.is_none(), "{} is on already", self.name);
        let mut command = match self.unprivileged {
            true => as_nobody(&self.program),
            false => Command::new(&self.program),
        };
        if let Some(offset) = &self.clock_offset {
            command
                .env("LD_PRELOAD", faketime()?)
                .env("FAKETIME", offset)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
            .envs(environment_of_unit())
            .envs(self.environment.clone())
            .arg("--config")
            .arg(&self.config)
            .arg("run");
        let node = start_logged(&mut command, &self.log())?;
        self.node = Some(node);
        Ok(())
    }

    /// Cuts the box's power: the node ends in the middle of whatever it does, and then, with a disk that forgets, what was
    /// not synced may be gone, as `seed` has it. In this order: a node that went on would be answered by a disk that takes nothing.
    pub async fn power_cut(&mut self, seed: u64) -> anyhow::Result<()> {
        if let Some(mut node) = self.node.take() {
            node.kill().await?;
        }
        if let Some(disk) = &self.forgetful_disk {
            disk.cut(seed);
        }
        Ok(())
    }

    /// The box's disk, of a box with a small one.
    pub fn forgetful_disk(&self) -> anyhow::Result<&ForgetfulDisk> {
        self.forgetful_disk.as_ref().context("the box's disk does not forget")
    }

    /// The box's disk, if it is a small one.
    pub fn small_disk(&self) -> anyhow::Result<&SmallDisk> {
        self.small_disk.as_ref().context("this box has no disk of its own")
    }

    /// Shuts the box down as an operator would.
    pub async fn shut_down(&mut self) -> anyhow::Result<()> {
        match self.node.take() {
            Some(node) => {
                let stopped = ask_to_stop(node, &self.name, Duration::from_secs(15)).await;
                stopped.with_context(|| format!("it said: {}", self.log_tail()))
            }
            None => Ok(()),
        }
    }

    /// Whether the node's process has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        if let Some(node) = &mut self.node
            && node.try_wait()?.is_some()
        {
            self.node = None;
        }
        Ok(self.node.is_none())
    }

    /// Makes both cables better or worse.
    pub fn network(&self, quality: LinkQuality) {
        self.api.set_quality(quality);
        self.broker.set_quality(quality);
    }

    /// Makes the cable to the broker better or worse.
    pub fn broker_network(&self, quality: LinkQuality) {
        self.broker.set_quality(quality);
    }

    /// Sets where the cables lead: API and broker addresses in order of preference.
    pub fn lead_to(&self, planes: &[(SocketAddr, SocketAddr)]) {
        self.api.set_targets(planes.iter().map(|(api, _)| *api).collect());
        self.broker.set_targets(planes.iter().map(|(_, broker)| *broker).collect());
    }

    /// The box's TPM.
    pub fn tpm(&mut self) -> anyhow::Result<&mut SoftTpm> {
        self.tpm.as_mut().context("this box has no TPM")
    }

    /// Sets the box's own clock off from the next start on, by an offset of `faketime`: `-20y`, `+3d`.
    pub fn clock_offset(&mut self, offset: Option<&str>) {
        self.clock_offset = offset.map(str::to_owned);
    }

    /// Sets the socket on which the init system listens, as systemd tells a service.
    pub fn notify_socket(&mut self, path: &Path) {
        self.environment.push(("NOTIFY_SOCKET".to_owned(), path.to_owned()));
    }

    /// Waits until the node says that it is online; fails if the node ends.
    pub async fn online(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let said = match self.status().await {
                Ok(status) if status["online"] == true => return Ok(()),
                Ok(status) => status["doing"].to_string(),
                Err(error) => error.to_string(),
            };
            if self.has_ended()? {
                anyhow::bail!("{} ended: {}", self.name, self.log_tail());
            }
            ensure!(
                std::time::Instant::now() < deadline,
                "{} is not online after {patience:?}: {said}\n{}",
                self.name,
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The node's program with this box's configuration.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config);
        command
    }

    /// The box's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file of the configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The status socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("node.sock")
    }

    /// The file of the log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let mut tail: Vec<_> = log.lines().rev().take(8).collect();
        tail.reverse();
        tail.join("\n")
    }

    /// The id of the node's process.
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().and_then(Child::id)
    }

    /// Gives the box's folders to nobody, and a copy of the programs that nobody can reach.
    fn give_to_nobody(&mut self) -> anyhow::Result<()> {
        let copy = self.folder.join("noderr-node");
        fs::copy(self.program.with_file_name("noderr-tpm"), copy.with_file_name("noderr-tpm"))?;
        fs::copy(&self.program, &copy)?;
        self.program = copy;
        for folder in [self.folder.clone(), self.data()] {
            std::os::unix::fs::chown(folder, Some(65534), Some(65534))?;
        }
        Ok(())
    }
}

impl Drop for ProcessRig {
    fn drop(&mut self) {
        // Nobody may be left who waits for a disk that is about to go.
        if let (Some(_), Some(node)) = (&self.forgetful_disk, &mut self.node) {
            if let Err(error) = node.start_kill() {
                eprintln!("{} could not be killed: {error}", self.name);
            }
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while matches!(node.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }
}
