//! The private PostgreSQL of a control plane: its addresses, its faults, its dumps.

use super::ControlPlane;
use crate::wait::until;
use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

impl ControlPlane {
    /// A URL of the private database, by which everything but secrets can be read.
    pub fn reader_url(&self) -> anyhow::Result<String> {
        ensure!(!self.external_database, "the database is not its own");
        fs::read_to_string(self.folder.join("reader-url")).context("the control plane has not started yet")
    }

    /// A URL of the private database with all rights, for a second instance.
    pub fn owner_url(&self) -> anyhow::Result<String> {
        Ok(self.reader_url()?.replace("noderr_reader@", "noderr_owner@"))
    }

    /// The process of the private PostgreSQL, from which all its others descend.
    pub fn database_pid(&self) -> Option<u32> {
        u32::try_from(self.postmaster()?.as_raw_nonzero().get()).ok()
    }

    pub(super) fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.postmaster_file()).ok()?;
        Pid::from_raw(text.lines().next()?.parse().ok()?)
    }

    fn postmaster_file(&self) -> PathBuf {
        self.folder.join("postgres/data/postmaster.pid")
    }

    /// Stops the private PostgreSQL, and waits until the control plane has started it again.
    pub async fn restart_database(&self) -> anyhow::Result<()> {
        let before = self.postmaster().context("the private PostgreSQL does not run")?;
        // Fast shutdown: connections are cut, transactions rolled back.
        kill_process(before, Signal::INT)?;
        until("PostgreSQL to come back", Duration::from_secs(30), || async {
            Ok(self.postmaster().filter(|now| *now != before && self.takes_connections()).map(drop))
        })
        .await
    }

    /// Lets the private PostgreSQL stand still, or go on: its connections stay and nothing answers.
    pub fn freeze_database(&self, frozen: bool) -> anyhow::Result<()> {
        let postmaster = self.postmaster().context("the private PostgreSQL does not run")?;
        let children = format!("/proc/{0}/task/{0}/children", postmaster.as_raw_nonzero());
        let backends = fs::read_to_string(children)?;
        let backends = backends.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for process in std::iter::once(postmaster).chain(backends) {
            match kill_process(process, if frozen { Signal::STOP } else { Signal::CONT }) {
                // A backend may have ended meanwhile.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether PostgreSQL takes connections, by the last line of the postmaster's file, as `pg_ctl` decides
    /// it.
    fn takes_connections(&self) -> bool {
        fs::read_to_string(self.postmaster_file())
            .is_ok_and(|text| text.lines().last().is_some_and(|state| state.trim() == "ready"))
    }

    /// Writes everything that is in the private database to a file, as an administrator would.
    pub async fn dump(&self, file: &Path) -> anyhow::Result<()> {
        let done = Command::new("pg_dump").arg("--file").arg(file).arg(self.owner_url()?).output().await?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Puts a dump in the place of the private database, of a control plane that was killed and whose PostgreSQL still runs.
    pub async fn restore(&self, file: &Path) -> anyhow::Result<()> {
        let url = self.owner_url()?;
        let (server, name) = url.rsplit_once('/').context("a URL ends with the database")?;
        let elsewhere = format!("{server}/postgres");
        for (database, words) in [
            (&elsewhere, vec!["-c".to_owned(), format!("DROP DATABASE {name} WITH (FORCE)")]),
            (&elsewhere, vec!["-c".to_owned(), format!("CREATE DATABASE {name} TEMPLATE template0")]),
            (&url, vec!["-f".to_owned(), file.display().to_string()]),
        ] {
            let mut psql = Command::new("psql");
            let done = psql.args(["-q", "-v", "ON_ERROR_STOP=1"]).args(words).arg(database).output().await?;
            ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }
}
