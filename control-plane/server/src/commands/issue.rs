//! `noderr-control issue-server`: issues a certificate of the network's authority for another server.

use super::with_database;
use anyhow::{Context as _, ensure};
use noderr_ca::ServerIdentity;
use noderr_fleet::{FleetSettings, open_authority};
use noderr_kernel::{record, unix_now};
use noderr_people::admins::COMMAND_LINE;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn issue_server(
    config: Option<&Path>,
    names: &[String],
    days: u16,
    folder: &Path,
) -> anyhow::Result<()> {
    ensure!(days > 0, "a certificate is good for a day at least");
    let server = with_database(config, async |configuration, database| {
        let authority = open_authority(&FleetSettings::read(configuration)?, database).await?;
        let server = authority.issue_server(names, unix_now(), DAY * u32::from(days))?;
        let mut tx = database.begin().await?;
        record(&mut tx, COMMAND_LINE, "certificate.issue", &names.join(" "), &json!({ "days": days }))
            .await?;
        tx.commit().await?;
        Ok(server)
    })
    .await?;
    write(&server, folder)
}

fn write(server: &ServerIdentity, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let chain: Vec<_> = server.chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", server.key.secret_der()));
    for (name, text, mode) in [("server.pem", pem::encode_many(&chain), 0o644), ("server.key", key, 0o600)] {
        let path = folder.join(name);
        let file = fs::File::options().write(true).create_new(true).mode(mode).open(&path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(text.as_bytes())?;
        println!("{}", path.display());
    }
    Ok(())
}
