//! Leftovers: processes of a lab whose keeper was killed, found by the lab's folder in their command lines,
//! and ended.

use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::Duration;

const PROGRAMS: [&str; 6] =
    ["noderr-control", "noderr-node", "noderr-tpm", "noderr-hil", "swtpm", "postgres"];

/// The processes that still run on this folder: control planes, nodes, TPMs, PostgreSQL.
pub fn leftovers(folder: &Path) -> Vec<Pid> {
    let below = format!("{}/", folder.display());
    let of_folder = |pid: Pid| {
        let Ok(line) = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) else { return false };
        let line = String::from_utf8_lossy(&line);
        let program = line.split('\0').next().and_then(|program| program.rsplit('/').next());
        // A program that only looks at a file of the lab is not part of the lab. (`swtpm` is told
        // `dir=FOLDER`.)
        program.is_some_and(|program| PROGRAMS.contains(&program))
            && line.split('\0').any(|word| word.trim_start_matches("dir=").starts_with(&below))
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != rustix::process::getpid() && of_folder(*pid))
        .collect()
}

/// Ends the leftovers of a folder: asks first, then kills.
pub async fn end_leftovers(folder: &Path) -> anyhow::Result<()> {
    for signal in [Signal::TERM, Signal::QUIT, Signal::KILL] {
        for pid in leftovers(folder) {
            if let Err(error) = kill_process(pid, signal)
                && error != Errno::SRCH
            {
                return Err(error).with_context(|| format!("cannot end process {}", pid.as_raw_nonzero()));
            }
        }
        let gone = crate::until("leftovers to end", Duration::from_secs(5), || async {
            Ok(leftovers(folder).is_empty().then_some(()))
        });
        if gone.await.is_ok() {
            return Ok(());
        }
    }
    let left = leftovers(folder);
    ensure!(left.is_empty(), "processes of an earlier run do not end: {left:?}");
    Ok(())
}
