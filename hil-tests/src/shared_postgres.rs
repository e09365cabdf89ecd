//! One PostgreSQL for all tests of a run: the first test starts it, each test takes a database of its own
//! from a template, and PostgreSQL ends with the run. Its data need not survive, so that PostgreSQL does not
//! wait for the disk.

use anyhow::{Context as _, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{geteuid, getppid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr as _;

const OWNER: &str = "noderr_owner";

/// Makes a database for one test, at the newest migration; returns a URL with all rights.
pub(crate) async fn fresh_database() -> anyhow::Result<String> {
    database_from("template_noderr").await
}

/// Makes a database with nothing in it for one test; returns a URL with all rights.
pub(crate) async fn empty_database() -> anyhow::Result<String> {
    database_from("template0").await
}

async fn database_from(template: &str) -> anyhow::Result<String> {
    // The parent is the process that runs the tests: there is one PostgreSQL for each run and each user.
    let run = getppid().context("a test has a parent")?.as_raw_nonzero();
    let folder = std::env::temp_dir().join(format!("noderr-tests-{}-{run}", geteuid().as_raw()));
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    tokio::task::block_in_place(|| flock(&lock, FlockOperation::LockExclusive))?;
    if !folder.join("ready").exists() {
        start(&folder, run.get())?;
        make_template(&folder).await?;
        File::create(folder.join("ready"))?;
    }
    drop(lock);
    let name = format!("t{}", hex::encode(rand::random::<[u8; 8]>()));
    let mut connection = PgConnectOptions::from_str(&url(&folder, "postgres"))?.connect().await?;
    connection
        .execute(sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))))
        .await?;
    connection.close().await?;
    Ok(url(&folder, &name))
}

fn url(folder: &Path, database: &str) -> String {
    format!("postgres://{OWNER}@{}/{database}", folder.display().to_string().replace('/', "%2F"))
}

async fn make_template(folder: &Path) -> anyhow::Result<()> {
    let mut connection = PgConnectOptions::from_str(&url(folder, "postgres"))?.connect().await?;
    connection.execute("CREATE DATABASE template_noderr").await?;
    connection.close().await?;
    let mut template = PgConnectOptions::from_str(&url(folder, "template_noderr"))?.connect().await?;
    noderr_control::MIGRATIONS.run(&mut template).await?;
    template.close().await?;
    Ok(())
}

fn start(folder: &Path, run: i32) -> anyhow::Result<()> {
    let binaries = newest_binaries()?;
    if geteuid().is_root() {
        ensure!(
            Command::new("chown").arg("postgres").arg(folder).status()?.success(),
            "cannot hand the folder on"
        );
    }
    let data = folder.join("data");
    done(
        unprivileged(&binaries.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-N", "-U", OWNER, "-D"])
            .arg(&data),
    )?;
    let options = format!(
        "-c listen_addresses= -c unix_socket_directories='{}' -c fsync=off -c synchronous_commit=off -c max_connections=200",
        folder.display()
    );
    done(
        unprivileged(&binaries.join("pg_ctl"))
            .args(["start", "-w", "-o", &options, "-l"])
            .arg(folder.join("log"))
            .arg("-D")
            .arg(&data),
    )?;
    // A watcher, which outlives this test and ends PostgreSQL with the run.
    let postmaster = fs::read_to_string(data.join("postmaster.pid"))?;
    let postmaster = postmaster.lines().next().context("no process in postmaster.pid")?.to_owned();
    let wait = "while kill -0 \"$0\" 2>/dev/null; do sleep 1; done; kill -QUIT \"$1\"; rm -rf \"$2\"";
    Command::new("setsid")
        .args(["sh", "-c", wait, &run.to_string(), &postmaster])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot watch over the shared PostgreSQL")?;
    Ok(())
}

fn unprivileged(program: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn newest_binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL is installed")?;
    let versions = versions.flatten().filter_map(|entry| {
        Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
    });
    versions.max().map(|(_, path)| path).context("no PostgreSQL is installed")
}
