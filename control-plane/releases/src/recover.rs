//! A folder from what a control plane hands out, where no copy of the folder is left. Nothing of it is trusted: whoever signs next holds
//! it against what the own key has seen.

use crate::ReleaseError;
use crate::check::check_archive;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{Metadata, Snapshot, TargetFile};
use crate::signed::SignedMetadata;
use crate::soundness::is_name_of_role;
use noderr_protocol::release::{Archive, metadata_file};
use std::fs;
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
        signed.says().check().map_err(unreadable)?;
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
    pub fn unfinished_object(&self, archive: &Archive) -> PathBuf {
        self.objects().join(format!(".{}.unfinished", hex::encode(archive.sha256.0)))
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

/// The versions of the roles that a snapshot names.
pub fn named_by_snapshot(bytes: &[u8]) -> Result<Vec<(String, u64)>, ReleaseError> {
    let unreadable = |why: String| ReleaseError::Unreadable { path: "the snapshot".into(), why };
    let snapshot = SignedMetadata::<Snapshot>::read(bytes).map_err(unreadable)?;
    let mut named = Vec::new();
    for (file, meta) in &snapshot.says().meta {
        // It becomes the name of a file.
        let role = file.strip_suffix(".json").filter(|role| is_name_of_role(role));
        let role = role.ok_or_else(|| unreadable(format!("`{}` is no role", file.escape_debug())))?;
        named.push((role.to_owned(), meta.version));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MetaFile;
    use std::collections::BTreeMap;

    #[test]
    fn a_role_that_would_be_a_file_elsewhere_is_none() {
        let snapshot = |name: &str| {
            let meta = BTreeMap::from([(format!("{name}.json"), MetaFile::of(3, b""))]);
            let says = Snapshot::new(1, "2027-01-01T00:00:00Z".parse().unwrap(), meta);
            SignedMetadata::new(says).to_bytes().unwrap()
        };
        assert_eq!(named_by_snapshot(&snapshot("os-3")).unwrap(), [("os-3".to_owned(), 3)]);
        for name in ["../../x", "/x", "a/b", ".", ""] {
            assert!(named_by_snapshot(&snapshot(name)).is_err(), "{name}");
        }
    }
}
