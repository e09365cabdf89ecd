//! A private PostgreSQL cluster in the data folder, run from the installed programs, reached over a Unix socket only.
//!
//! PostgreSQL refuses to run as root, so a control plane started by root runs it as an unprivileged user. The cluster
//! outlives a killed control plane; the next start finds it running and goes on.

use super::DatabaseSettings;
use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use uuid::Uuid;

const SUPERUSER: &str = "noderr_owner";
const DATABASE: &str = "noderr";
/// Where Debian's packages put PostgreSQL's programs, by version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// The longest folder for the socket: a Unix socket's path may have 107 bytes, and PostgreSQL adds its own
/// file name.
const MAX_SOCKET_FOLDER: usize = 80;
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A PostgreSQL cluster that this control plane looks after.
#[derive(Debug, Clone)]
pub(super) struct PrivateCluster {
    binaries: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    /// The user that the cluster runs as, when the control plane is started by root.
    user: Option<String>,
    /// The application name of this process's connections, which tells them from those of other instances.
    name: String,
    /// Bytes that stay free.
    reserve: u64,
}

impl PrivateCluster {
    /// Makes the cluster if there is none, and starts the cluster if it does not run.
    pub(super) async fn start(data: &Path, settings: &DatabaseSettings) -> anyhow::Result<Self> {
        let folder = data.join("postgres");
        let root = rustix::process::geteuid().is_root();
        let cluster = Self {
            binaries: match &settings.binaries {
                Some(binaries) => binaries.clone(),
                None => binaries_for(&folder.join("data"), Path::new(INSTALLED))?,
            },
            data: folder.join("data"),
            socket: socket_folder(&folder),
            user: root.then(|| settings.user.clone()),
            name: format!("noderr-control {}", Uuid::now_v7()),
            reserve: u64::from(settings.reserve_mib) << 20,
        };
        cluster.prepare(&folder).await?;
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.create().await?;
        }
        cluster.ensure_running().await?;
        cluster.ensure_database().await?;
        Ok(cluster)
    }

    /// How to connect as `role`.
    pub(super) fn options(&self, role: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .username(role)
            .database(DATABASE)
            .application_name(&self.name)
    }

    /// A URL for people and scripts, by which everything but secrets can be read.
    pub(super) fn reader_url(&self) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://noderr_reader@{socket}/{DATABASE}")
    }

    /// Whether as much is free on the cluster's disk as must stay free.
    pub(super) fn has_room(&self) -> bool {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) >= self.reserve,
            Err(error) => {
                tracing::error!(%error, "how much is free on the database's disk cannot be told");
                true
            }
        }
    }

    /// Starts the cluster again whenever it is down.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            if !self.is_running().await {
                tracing::warn!("the private PostgreSQL is down; starting it");
                if let Err(error) = self.ensure_running().await {
                    tracing::error!(error = format!("{error:#}"), "the private PostgreSQL cannot be started");
                }
            }
        }
    }

    /// Stops the cluster, unless other instances are connected to it.
    pub(super) async fn stop(&self) {
        match self.others_are_connected().await {
            Ok(true) => tracing::debug!("the private PostgreSQL is left running for other instances"),
            _ => {
                if let Err(error) = self.pg_ctl(["stop", "-m", "fast", "-w", "-t", "30"]).await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the private PostgreSQL did not stop cleanly"
                    );
                }
            }
        }
    }

    async fn others_are_connected(&self) -> sqlx::Result<bool> {
        use sqlx::ConnectOptions as _;
        let mut connection = self.options(SUPERUSER).connect().await?;
        let others = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM pg_stat_activity
               WHERE backend_type = 'client backend' AND application_name <> $1
                 AND usename IN ('noderr_system', 'noderr_owner')"#,
            self.name
        )
        .fetch_one(&mut connection)
        .await?;
        Ok(others > 0)
    }

    async fn prepare(&self, folder: &Path) -> anyhow::Result<()> {
        let mut made = Vec::new();
        for path in [folder, &self.socket] {
            if !path.exists() || !self.data.exists() {
                made.push(path);
            }
            fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
            // Everybody who can reach the socket may connect, so the folder is closed to others.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
        if let Some(user) = &self.user {
            let owner = format!("{user}:");
            // A cluster that exists stays its owner's: a command of root must not take it away from a running service.
            for path in made {
                let done = Command::new("chown").arg(&owner).arg(path).output().await?;
                succeeded(&done).with_context(|| format!("cannot give {} to {user}", path.display()))?;
            }
            self.check_reachable(folder, user).await?;
        }
        Ok(())
    }

    /// Checks that the unprivileged user can reach the folder.
    async fn check_reachable(&self, folder: &Path, user: &str) -> anyhow::Result<()> {
        let done = self.command("test").arg("-x").arg(folder).output().await?;
        anyhow::ensure!(
            done.status.success(),
            "the user `{user}` cannot reach {}: PostgreSQL does not run as root. If a service has made the folder, run this \
             command as the service's user; else a folder above it must let others pass (chmod o+x), or `data` must be elsewhere",
            folder.display()
        );
        Ok(())
    }

    async fn create(&self) -> anyhow::Result<()> {
        tracing::info!(data = %self.data.display(), "making a private PostgreSQL cluster");
        // The cluster has another name until it is whole: a power cut in between must not leave half a
        // cluster.
        let new = self.data.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("cannot clear {}", new.display()))?;
        }
        let done = self
            .command(self.binaries.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username", SUPERUSER, "-D"])
            .arg(&new)
            .output()
            .await
            .context("cannot run initdb")?;
        succeeded(&done).context("initdb failed")?;
        fs::rename(&new, &self.data).with_context(|| format!("cannot make {}", self.data.display()))
    }

    async fn ensure_running(&self) -> anyhow::Result<()> {
        if self.is_running().await {
            return Ok(());
        }
        let options = format!("-c listen_addresses= -c unix_socket_directories='{}'", self.socket.display());
        let log = self.data.with_file_name("log");
        let args = ["start", "-w", "-t", "60", "-o", &options, "-l"].map(OsStr::new);
        let args = args.into_iter().chain([log.as_os_str()]);
        match self.pg_ctl(args).await {
            Ok(()) => Ok(()),
            // Another instance may have started the cluster in the same moment.
            Err(_) if self.is_running().await => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("PostgreSQL does not start; see {}", log.display()))
            }
        }
    }

    async fn is_running(&self) -> bool {
        self.pg_ctl(["status"]).await.is_ok()
    }

    async fn ensure_database(&self) -> anyhow::Result<()> {
        use sqlx::ConnectOptions as _;
        let options = self.options(SUPERUSER).database("postgres");
        let mut connection = options.connect().await.context("cannot connect to the private PostgreSQL")?;
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "exists!""#,
            DATABASE
        )
        .fetch_one(&mut connection)
        .await?;
        if !exists {
            sqlx::raw_sql("CREATE DATABASE noderr").execute(&mut connection).await?;
        }
        Ok(())
    }

    async fn pg_ctl<I, S>(&self, args: I) -> anyhow::Result<()>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let done = self
            .command(self.binaries.join("pg_ctl"))
            .args(args)
            .arg("-D")
            .arg(&self.data)
            .output()
            .await
            .context("cannot run pg_ctl")?;
        succeeded(&done)
    }

    /// A command that runs as the unprivileged user, in a process group of its own, so that Ctrl-C reaches
    /// only the control plane.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.stdin(Stdio::null()).current_dir("/").process_group(0);
        command
    }
}

fn succeeded(done: &Output) -> anyhow::Result<()> {
    if done.status.success() {
        return Ok(());
    }
    bail!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim())
}

/// The programs of the version that has made the cluster, which alone can run it; for a new cluster the newest that are
/// installed. A newer version that is installed beside the old one changes nothing.
fn binaries_for(data: &Path, installed: &Path) -> anyhow::Result<PathBuf> {
    let missing = "no PostgreSQL is installed (apt install postgresql), and neither database.url nor \
                   database.binaries is set";
    let versions: BTreeMap<u32, PathBuf> = fs::read_dir(installed)
        .context(missing)?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    let Ok(made_by) = fs::read_to_string(data.join("PG_VERSION")) else {
        return versions.into_values().next_back().context(missing);
    };
    let made_by: u32 = made_by.trim().parse().context("the cluster's PG_VERSION is not a number")?;
    versions.get(&made_by).cloned().with_context(|| {
        format!(
            "{data} was made by PostgreSQL {made_by}, whose programs are not installed: `apt install postgresql-{made_by}`, or \
             bring the cluster to another version with pg_upgrade and set database.binaries",
            data = data.display()
        )
    })
}

/// The folder of the socket: beside the data, or, where that path is too long for a socket, under /tmp by a
/// name made of the path.
fn socket_folder(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let socket = absolute.join("socket");
    if socket.as_os_str().len() <= MAX_SOCKET_FOLDER {
        return socket;
    }
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    PathBuf::from(format!("/tmp/noderr-{}", hex::encode(&digest[..8])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_postgresql_beside_the_old_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (installed, data) = (folder.path().join("lib"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        for version in ["9.6", "15", "17"] {
            fs::create_dir_all(installed.join(version).join("bin")).unwrap();
            fs::write(installed.join(version).join("bin/initdb"), "").unwrap();
        }
        let of = |version: &str| installed.join(version).join("bin");
        assert_eq!(binaries_for(&data, &installed).unwrap(), of("17"), "a new cluster");
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(binaries_for(&data, &installed).unwrap(), of("15"));
        fs::remove_dir_all(installed.join("15")).unwrap();
        let error = binaries_for(&data, &installed).unwrap_err().to_string();
        assert!(error.contains("postgresql-15") && error.contains("pg_upgrade"), "{error}");
    }
}
