//! A folder from what a control plane hands out, where no copy of the folder is left. Nothing of it is trusted: whoever signs next holds
//! it against what the own key has seen.

use crate::ReleaseError;
use crate::check::check_archive;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{Metadata, TargetFile};
use crate::signed::SignedMetadata;
use noderr_protocol::release::{Archive, metadata_file};
use rustix::fs::statvfs;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

impl ReleaseFolder {
    /// Puts a version of a role into the folder that others have signed; what is there already is the same.
    pub fn put_signed<M: Metadata>(
        &self,
        role: &str,
        version: u64,
        bytes: &[u8],
    ) -> Result<(), ReleaseError> {
        let path = self.metadata().join(metadata_file(role, version));
        let unreadable = |why: String| ReleaseError::Unreadable { path: path.clone(), why };
        let signed = SignedMetadata::<M>::read(bytes).map_err(unreadable)?;
        if signed.says().version() != version || signed.to_bytes()? != bytes {
            return Err(unreadable("it is another version than it is handed out as".to_owned()));
        }
        match self.bytes(role, version)? {
            None => self.put(role, &signed),
            Some(there) if there == bytes => Ok(()),
            Some(_) => Err(unreadable("the folder has the same version with other words".to_owned())),
        }
    }

    /// Puts a small target into the folder that metadata names.
    pub fn put_named(&self, name: &str, file: &TargetFile, bytes: &[u8]) -> Result<(), ReleaseError> {
        if *file != self.put_target(name, bytes)? {
            let why = format!("it is not what was signed as {name}");
            return Err(ReleaseError::Unreadable { path: self.root().to_owned(), why });
        }
        Ok(())
    }

    /// Where an archive lies until all of it has come, beside where archives are.
    fn unfinished_object(&self, archive: &Archive) -> PathBuf {
        self.objects().join(format!(".{}.unfinished", hex::encode(archive.sha256.0)))
    }

    /// Goes on with an archive that is coming; returns where its next bytes go, and how many are there. The disk has room for all of it.
    pub fn begin_object(&self, archive: &Archive) -> Result<(File, u64), ReleaseError> {
        let path = self.unfinished_object(archive);
        let begin = || {
            fs::create_dir_all(self.objects())?;
            let file = folder::append_file(&path)?;
            let there = file.metadata()?.len();
            let disk = statvfs(self.objects())?;
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let lacking = archive.bytes.saturating_sub(there);
            if lacking > free {
                let why = format!("{lacking} bytes are still to come, and the disk has room for {free}");
                return Err(io::Error::new(ErrorKind::StorageFull, why));
            }
            Ok((file, there))
        };
        begin().map_err(|why| ReleaseError::Io { path: path.clone(), why })
    }

    /// Forgets what has come of an archive.
    pub fn forget_object(&self, archive: &Archive) -> Result<(), ReleaseError> {
        folder::remove(&self.unfinished_object(archive))
    }

    /// Keeps an archive that has come, if it is the one that was signed.
    pub fn keep_object(&self, archive: &Archive) -> Result<(), ReleaseError> {
        let (from, to) = (self.unfinished_object(archive), self.object(&archive.sha256));
        let checked = check_archive(&from, archive);
        let keep = || {
            // What is no archive is no beginning of one either.
            if checked.is_err() {
                return fs::remove_file(&from);
            }
            fs::rename(&from, &to)?;
            folder::sync(&self.objects())
        };
        keep().map_err(|why| ReleaseError::Io { path: to.clone(), why })?;
        checked
    }

    /// Whether the folder has an archive.
    pub fn has_object(&self, archive: &Archive) -> bool {
        self.check_object(archive).is_ok()
    }
}
