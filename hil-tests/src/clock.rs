//! Clocks that are wrong.

use anyhow::Context as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where libfaketime keeps two files for each process that it lies to.
const SHARED_MEMORY: &str = "/dev/shm";

/// The path of libfaketime, which lies to a process about the time of day.
pub(crate) fn faketime() -> anyhow::Result<PathBuf> {
    sweep()?;
    let libraries = fs::read_dir("/usr/lib").context("no /usr/lib")?;
    libraries
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .context("libfaketime is missing; install faketime")
}

/// Removes what libfaketime keeps of processes that are gone. A process that was killed leaves its files behind, and libfaketime
/// ends the next process that gets the same id: "shm_open failed: File exists".
fn sweep() -> anyhow::Result<()> {
    for entry in fs::read_dir(SHARED_MEMORY).context(SHARED_MEMORY)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"))
        });
        let Some(owner) = owner else { continue };
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        // Another test may have been here first.
        if let Err(error) = fs::remove_file(entry.path())
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).context(entry.path().display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{SHARED_MEMORY, faketime};
    use std::path::Path;
    use std::{fs, process};

    #[test]
    fn what_a_killed_process_left_behind_is_swept_and_nothing_else() -> anyhow::Result<()> {
        let mut gone = process::Command::new("true").spawn()?;
        gone.wait()?;
        let left = |id: u32| {
            ["faketime_shm_", "sem.faketime_sem_"]
                .map(|name| Path::new(SHARED_MEMORY).join(format!("{name}{id}")))
        };
        let (dead, alive) = (left(gone.id()), left(process::id()));
        for path in dead.iter().chain(&alive) {
            fs::write(path, [0; 8])?;
        }
        faketime()?;
        assert!(!dead.iter().any(|path| path.exists()), "{dead:?}");
        assert!(alive.iter().all(|path| path.exists()), "{alive:?}");
        for path in &alive {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}
