//! `noderr-control issue-server`: a certificate of the network's authority for a server that is not this one.

use super::serve::open_authority;
use crate::app::unix_now;
use crate::config::Config;
use crate::database::Database;
use anyhow::{Context as _, ensure};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn issue_server(
    config: Config,
    names: &[String],
    days: u16,
    folder: &Path,
) -> anyhow::Result<()> {
    ensure!(days > 0, "a certificate is good for a day at least");
    let database = Database::open(&config).await?;
    let written = write(&config, &database, names, days, folder).await;
    database.close().await;
    written
}

async fn write(
    config: &Config,
    database: &Database,
    names: &[String],
    days: u16,
    folder: &Path,
) -> anyhow::Result<()> {
    let authority = open_authority(config, database).await?;
    let server = authority.issue_server(names, unix_now(), DAY * u32::from(days))?;
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
