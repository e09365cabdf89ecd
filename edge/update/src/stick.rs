//! A folder that may hang: a stick, or whatever else is mounted there. It is asked one thing at a time, each with a deadline, and
//! nothing at all while an answer is overdue: no round waits for it, and no threads pile up behind it.

use noderr_part::open_file;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder. Cheap to clone; all clones take turns.
#[derive(Debug, Clone)]
pub struct StickFolder {
    root: PathBuf,
    patience: Duration,
    turn: Arc<Semaphore>,
    /// Whether an answer is overdue.
    hangs: Arc<AtomicBool>,
}

impl StickFolder {
    /// The folder at a path, which need not be there.
    pub fn new(root: PathBuf) -> Self {
        Self { root, patience: PATIENCE, turn: Arc::new(Semaphore::new(1)), hangs: Arc::default() }
    }

    /// The beginning of a file, so many bytes at most.
    pub async fn read(&self, file: PathBuf, most: u64) -> io::Result<Vec<u8>> {
        let read = self.ask(move |root| {
            let mut bytes = Vec::new();
            open_file(&root.join(file))?.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        read.await
    }

    /// Does something with the folder, away from the thread on which everything else waits.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let overdue = || io::Error::new(ErrorKind::TimedOut, "the stick does not answer");
        if self.hangs.load(Ordering::SeqCst) {
            return Err(overdue());
        }
        let turn = timeout(self.patience, self.turn.clone().acquire_owned()).await.map_err(|_| overdue())?;
        let turn = turn.map_err(io::Error::other)?;
        let (root, turn) = (self.root.clone(), Turn { turn: Some(turn), hangs: self.hangs.clone() });
        let answer = spawn_blocking(move || {
            let answer = work(&root);
            drop(turn);
            answer
        });
        match timeout(self.patience, answer).await {
            Ok(answer) => answer.map_err(io::Error::other)?,
            Err(_) => {
                self.hangs.store(true, Ordering::SeqCst);
                // It may have come in this moment.
                if self.turn.available_permits() > 0 {
                    self.hangs.store(false, Ordering::SeqCst);
                }
                Err(overdue())
            }
        }
    }
}

/// A turn to ask. However it ends, the folder has answered.
struct Turn {
    turn: Option<OwnedSemaphorePermit>,
    hangs: Arc<AtomicBool>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.turn.take());
        self.hangs.store(false, Ordering::SeqCst);
    }
}

/// An open file of a stick. It is closed away from the thread on which everything else waits: even that may hang.
pub(crate) struct Opened(Option<File>);

impl Opened {
    /// Opens a file of a stick.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self(Some(open_file(path)?)))
    }

    /// So many bytes from a place on.
    pub(crate) fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.0.as_ref().ok_or(ErrorKind::NotFound)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            // Nobody waits for it.
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn links_and_pipes_are_no_files() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), b"12345").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", place.path().join("link")).unwrap();
        mkfifoat(CWD, place.path().join("pipe"), Mode::RUSR).unwrap();
        let folder = StickFolder::new(place.path().to_owned());
        assert_eq!(folder.read("file".into(), 3).await.unwrap(), b"123");
        for none in ["link", "pipe", "nothing"] {
            assert!(folder.read(none.into(), 3).await.is_err(), "{none}");
        }
    }

    #[tokio::test]
    async fn what_hangs_is_asked_nothing_until_it_answers() {
        let mut folder = StickFolder::new(PathBuf::from("/"));
        folder.patience = Duration::from_millis(50);
        assert!(folder.ask(|root| Ok(root.is_dir())).await.unwrap());
        let (answer, hung) = channel::<()>();
        let asked = folder.ask(move |_| Ok(hung.recv().is_ok())).await;
        assert_eq!(asked.unwrap_err().kind(), ErrorKind::TimedOut);
        let (started, starts) = channel();
        assert!(folder.ask(move |_| Ok(started.send(()).is_ok())).await.is_err());
        assert!(starts.try_recv().is_err(), "it is asked beside what hangs");
        answer.send(()).unwrap();
        while folder.hangs.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(folder.ask(|root| Ok(root.is_dir())).await.unwrap());
    }
}
