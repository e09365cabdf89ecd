//! `noderr-control issue-server`: issues a certificate of the network's authority for another server.

use super::with_database;
use anyhow::{Context as _, bail, ensure};
use noderr_ca::ServerIdentity;
use noderr_fleet::{FleetSettings, open_authority};
use noderr_kernel::{record, unix_now};
use noderr_people::admins::COMMAND_LINE;
use serde_json::json;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn issue_server(
    config: Option<&Path>,
    names: &[String],
    days: u16,
    folder: &Path,
) -> anyhow::Result<String> {
    ensure!(days > 0, "a certificate is good for a day at least");
    // What cannot be written must not be issued, nor be on record.
    let files = Files::create(folder)?;
    let server = with_database(config, async |configuration, database| {
        let authority = open_authority(&FleetSettings::read(configuration)?, database).await?;
        let server = authority.issue_server(names, unix_now(), DAY * u32::from(days))?;
        let mut tx = database.begin().await?;
        record(&mut tx, COMMAND_LINE, "certificate.issue", &names.join(" "), &json!({ "days": days }))
            .await?;
        tx.commit().await?;
        Ok(server)
    })
    .await;
    files.fill(server)
}

/// The files that a certificate and its key go into.
struct Files([(PathBuf, File); 2]);

impl Files {
    fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}; name another --out", folder.display()))?;
        let create = |name: &str, mode| {
            let path = folder.join(name);
            match File::options().write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => Ok((path, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    bail!("{} exists already: move it away, or name another --out", path.display())
                }
                Err(error) => {
                    bail!("cannot write {}: {error}; name another folder with --out", path.display())
                }
            }
        };
        let chain = create("server.pem", 0o644)?;
        match create("server.key", 0o600) {
            Ok(key) => Ok(Self([chain, key])),
            Err(error) => {
                fs::remove_file(chain.0)?;
                Err(error)
            }
        }
    }

    /// Writes what was issued; where that fails, nothing is left that the next try would meet.
    fn fill(mut self, issued: anyhow::Result<ServerIdentity>) -> anyhow::Result<String> {
        let written = issued.and_then(|server| {
            self.write(&server).context("the certificate is on record as issued, and cannot be written")
        });
        if written.is_err() {
            for (path, _) in &self.0 {
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!(%error, path = %path.display(), "an unfinished file is left behind");
                }
            }
        }
        written
    }

    fn write(&mut self, server: &ServerIdentity) -> anyhow::Result<String> {
        let chain: Vec<_> =
            server.chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
        let key = pem::encode(&pem::Pem::new("PRIVATE KEY", server.key.secret_der()));
        let mut said = String::new();
        for ((path, file), text) in self.0.iter_mut().zip([pem::encode_many(&chain), key]) {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| path.display().to_string())?;
            said += &format!("{}\n", path.display());
        }
        Ok(said)
    }
}
