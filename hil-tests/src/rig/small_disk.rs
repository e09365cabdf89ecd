//! A small disk for the folder of a box or a control plane: of memory, mounted, and needing root.

use anyhow::ensure;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One small disk.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of a number of MiB on a folder.
    pub fn mount(folder: &Path, mib: u32) -> anyhow::Result<Self> {
        let size = format!("size={mib}m");
        as_root(
            "mount",
            [
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                size.as_ref(),
                "tmpfs".as_ref(),
                folder.as_os_str(),
            ],
        )?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Fills the disk to the last block.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::options().append(true).create(true).open(self.ballast())?;
        let block = vec![0; 64 * 1024];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fills the disk until no more than so many MiB are free.
    pub fn fill_but(&self, mib: u64) -> anyhow::Result<()> {
        let mut file = File::options().append(true).create(true).open(self.ballast())?;
        let block = vec![0; 1 << 20];
        loop {
            let disk = rustix::fs::statvfs(&self.folder)?;
            if disk.f_bavail * disk.f_frsize <= mib << 20 {
                return Ok(());
            }
            file.write_all(&block)?;
        }
    }

    /// Frees the space again.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    /// Lets nothing more be written, or lets it again.
    pub fn write_protect(&self, protected: bool) -> anyhow::Result<()> {
        let mode = if protected { "remount,ro" } else { "remount,rw" };
        as_root("mount", ["-o".as_ref(), mode.as_ref(), self.folder.as_os_str()])
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    /// Unmounted lazily: the node may still have files open.
    fn drop(&mut self) {
        if let Err(error) = as_root("umount", ["-l".as_ref(), self.folder.as_os_str()]) {
            eprintln!("a small disk stays mounted: {error:#}");
        }
    }
}

fn as_root<'a>(program: &str, words: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.args(["-n", program]);
        command
    };
    let done = command.args(words).output()?;
    ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
