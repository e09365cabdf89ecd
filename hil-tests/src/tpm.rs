//! Software TPMs, each with an endorsement certificate of a demo vendor whose authority is made here at run time.

use crate::ports::free_ports;
use crate::wait::until;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// A TPM vendor: makes TPMs and certifies their endorsement keys.
pub struct TpmVendor {
    folder: PathBuf,
    /// Whether the next TPM is the first, which makes the vendor's authority; two at once would make two
    /// authorities.
    first: Mutex<bool>,
}

impl TpmVendor {
    /// A vendor whose authority lies in `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let authority = folder.join("authority");
        fs::create_dir_all(&authority)?;
        let tool = ["/usr/bin/swtpm_localca", "/usr/share/swtpm/swtpm-localca"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("swtpm_localca is missing; install swtpm-tools and gnutls-bin")?;
        let at = |name: &str| authority.join(name).display().to_string();
        fs::write(
            folder.join("localca.conf"),
            format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                authority.display(),
                at("signkey.pem"),
                at("issuercert.pem"),
                at("certserial")
            ),
        )?;
        fs::write(
            folder.join("localca.options"),
            "--platform-manufacturer DemoVendor\n--platform-version 1.0\n--platform-model ProcessRig\n",
        )?;
        fs::write(
            folder.join("setup.conf"),
            format!(
                "create_certs_tool = {tool}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
                folder.join("localca.conf").display(),
                folder.join("localca.options").display()
            ),
        )?;
        let made = authority.join("issuercert.pem").exists();
        Ok(Self { folder, first: Mutex::new(!made) })
    }

    /// A folder with the vendor's certificates, for `enrolment.vendor_roots`.
    pub fn roots(&self) -> anyhow::Result<PathBuf> {
        let roots = self.folder.join("roots");
        fs::create_dir_all(&roots)?;
        for name in ["swtpm-localca-rootca-cert.pem", "issuercert.pem"] {
            let from = self.folder.join("authority").join(name);
            fs::copy(&from, roots.join(name))
                .with_context(|| format!("the vendor has no {}", from.display()))?;
        }
        Ok(roots)
    }

    /// Makes a TPM with an endorsement certificate, unless the folder holds one.
    pub async fn make(&self, state: &Path) -> anyhow::Result<()> {
        if state.join("tpm2-00.permall").exists() {
            return Ok(());
        }
        let mut first = self.first.lock().await;
        let guard = if *first {
            *first = false;
            Some(first)
        } else {
            drop(first);
            None
        };
        fs::create_dir_all(state)?;
        let done = Command::new("swtpm_setup")
            .args(["--tpm2", "--createek", "--create-ek-cert", "--overwrite", "--pcr-banks", "sha256"])
            .arg("--tpmstate")
            .arg(state)
            .arg("--config")
            .arg(self.folder.join("setup.conf"))
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run swtpm_setup; install swtpm-tools")?;
        drop(guard);
        if !done.status.success() {
            bail!(
                "swtpm_setup failed: {}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(())
    }
}

/// A software TPM: a swtpm process over a state folder. The same folder again is the same TPM after a reboot.
pub struct SoftTpm {
    state: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl SoftTpm {
    /// A TPM with this state folder, not started yet.
    pub fn new(state: &Path) -> anyhow::Result<Self> {
        Ok(Self { state: std::path::absolute(state)?, port: free_ports(2)?, process: None })
    }

    /// The TCTI string by which the node reaches the TPM.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Starts the TPM and waits until it answers.
    pub async fn on(&mut self) -> anyhow::Result<()> {
        let (server, control) = (self.port, self.port + 1);
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", self.state.display())])
            .args(["--server", &format!("type=tcp,bindaddr=127.0.0.1,port={server}")])
            .args(["--ctrl", &format!("type=tcp,bindaddr=127.0.0.1,port={control}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run swtpm; install swtpm")?;
        self.process = Some(process);
        let address = SocketAddr::from(([127, 0, 0, 1], control));
        until("the software TPM to answer", Duration::from_secs(10), || async move {
            Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok().map(drop))
        })
        .await
    }

    /// Kills the TPM, as a power cut would.
    pub async fn off(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Makes the TPM hang: it keeps its connections and answers nothing.
    pub fn hang(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Ends the hang.
    pub fn unhang(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// The id of the process.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("the TPM is off")?;
        Ok(kill_process(pid, signal)?)
    }
}
