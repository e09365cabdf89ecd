//! A disk that forgets: a file system of our own, in memory, on which everything behaves as on a disk until the power is cut.
//! Then only what was synced is certain to be there. It can also fail, and be slow.

mod answers;
mod attributes;
mod faults;
mod files;
mod worn;

pub use faults::Fault;
pub use worn::Damage;

use answers::Answers;
use anyhow::Context as _;
use faults::Faults;
use files::Files;
use fuser::{BackgroundSession, Config, INodeNo, MountOption};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use worn::Worn;

/// A disk, mounted for as long as the value lives. Stop whoever writes to it before its power is cut: a process that goes on
/// would be answered by a disk that takes nothing.
pub struct ForgetfulDisk {
    files: Arc<Mutex<Files>>,
    faults: Arc<Faults>,
    worn: Arc<Mutex<Worn>>,
    session: Option<BackgroundSession>,
    place: PathBuf,
}

impl ForgetfulDisk {
    /// Mounts an empty disk of so many MiB. Only root may.
    pub fn mount(place: &Path, mib: usize) -> anyhow::Result<Self> {
        let (files, faults) = (Arc::new(Mutex::new(Files::new())), Arc::new(Faults::default()));
        let worn = Arc::<Mutex<Worn>>::default();
        let answers = Answers {
            files: files.clone(),
            faults: faults.clone(),
            worn: worn.clone(),
            failed_syncs: Mutex::default(),
            size: mib << 20,
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(answers, place, &config).with_context(|| {
            format!("cannot mount a file system of our own on {} (root and /dev/fuse?)", place.display())
        })?;
        Ok(Self { files, faults, worn, session: Some(session), place: place.to_owned() })
    }

    /// Cuts the power; chance decides about everything that was not synced.
    pub fn cut(&self, seed: u64) {
        let cached = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let cached = files.all();
            files.cut(&mut StdRng::seed_from_u64(seed));
            cached
        };
        let Some(kernel) = self.session.as_ref().map(BackgroundSession::notifier) else { return };
        for id in cached {
            // The kernel may have forgotten it already.
            drop(kernel.inval_inode(INodeNo(id), 0, 0));
        }
    }

    /// Plans a fault, or takes the plan back.
    pub fn plan(&self, fault: Option<Fault>) {
        self.faults.plan(fault);
    }

    /// Damages a file or a folder for as long as it lives. What a file that is damaged in the middle is replaced with is whole.
    pub fn damage(&self, path: &Path, damage: Damage) -> anyhow::Result<()> {
        let id = fs::symlink_metadata(path).with_context(|| path.display().to_string())?.ino();
        self.worn.lock().unwrap_or_else(PoisonError::into_inner).note(id, damage);
        let kernel = self.session.as_ref().map(BackgroundSession::notifier).context("it is not mounted")?;
        // The kernel may have forgotten it already.
        drop(kernel.inval_inode(INodeNo(id), 0, 0));
        Ok(())
    }

    /// How many requests the disk was asked so far.
    pub fn requests(&self) -> u64 {
        self.faults.requests()
    }

    /// Says that everything is on the disk when it is asked to sync, and does nothing about it.
    pub fn lose_syncs(&self, lost: bool) {
        self.faults.lose_syncs(lost);
    }

    /// Answers the next sync of a file with an error, for everybody who has the file open, and loses what it was to bring to the
    /// disk; the kernel has what it was given and shows it. So does Linux.
    pub fn fail_next_sync(&self) {
        self.faults.fail_next_sync();
    }

    /// Answers nothing until it is told otherwise, as a disk whose cable is loose.
    pub fn hang(&self, hangs: bool) {
        self.faults.hang(hangs);
    }

    /// Reads no faster than this.
    pub fn slow_down(&self, bytes_per_s: Option<u64>) {
        self.faults.slow_down(bytes_per_s);
    }
}

impl Drop for ForgetfulDisk {
    fn drop(&mut self) {
        self.hang(false);
        // Somebody may still have a file open for a moment.
        if let Some(Err(_)) = self.session.take().map(BackgroundSession::umount_and_join) {
            let done = std::process::Command::new("umount").arg("-l").arg(&self.place).status();
            if !done.is_ok_and(|status| status.success()) {
                eprintln!("{} could not be unmounted", self.place.display());
            }
        }
    }
}
