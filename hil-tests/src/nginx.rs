//! A real nginx that serves a folder over HTTPS, beside the control plane.

use crate::mosquitto::write_server;
use crate::ports::free_ports;
use crate::until;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A web server of files.
pub struct Nginx {
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Serves `folder/files` with a certificate of the authority in `authority`.
    pub async fn start(folder: &Path, authority: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("files"))?;
        write_server(folder, authority)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)?));
        let place = folder.display();
        let workers = std::thread::available_parallelism()?;
        let configuration = format!(
            "daemon off; pid {place}/pid; error_log {place}/log; user root; worker_processes {workers};\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off; sendfile on; keepalive_requests 1000000000;\n  \
             server {{\n    listen {address} ssl; server_name localhost; root {place}/files;\n    \
             ssl_protocols TLSv1.3; ssl_certificate {place}/server.pem; ssl_certificate_key {place}/server.key;\n  }}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), configuration)?;
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("nginx is missing; `./dev bench releases` installs it")?;
        let nginx = Self { address, process };
        until("nginx to listen", Duration::from_secs(10), || async move {
            Ok(TcpStream::connect(address).ok().map(drop))
        })
        .await?;
        Ok(nginx)
    }

    /// The address on which nginx listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    /// The master ends its workers, if it is asked to.
    fn drop(&mut self) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            eprintln!("nginx was gone already: {error}");
        }
    }
}
