//! A stick for boxes whose network lacks: what is published, what the control plane says of it, and the archives that boxes
//! should hold. It is good for as long as the control plane's word.

use crate::ReleaseError;
use crate::draft::Draft;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{Metadata, Root, Snapshot, Timestamp, sha256};
use crate::online::newest_targets;
use crate::signing::Authority;
use noderr_protocol::release::{Manifest, ReleaseName};
use std::fs::{self, File};
use std::io;

/// What the control plane says of what is published.
pub struct OnlineWord {
    /// `timestamp.json`.
    pub timestamp: Vec<u8>,
    /// The snapshot that it names.
    pub snapshot: Vec<u8>,
    /// `beacon.json`: which releases boxes should hold.
    pub beacon: Vec<u8>,
}

impl OnlineWord {
    /// The version of the snapshot that a timestamp names.
    pub fn snapshot_version(timestamp: &[u8]) -> Result<u64, ReleaseError> {
        let pinned = read::<Timestamp>("timestamp", timestamp)?.says().meta.get("snapshot.json").cloned();
        Ok(pinned.ok_or_else(|| ReleaseError::Word("its timestamp names no snapshot".to_owned()))?.version)
    }

    /// Makes sure that this is the control plane's word, and that it is about what the folder has.
    fn check(&self, folder: &ReleaseFolder) -> Result<(u64, jiff::Timestamp), ReleaseError> {
        let timestamp = read::<Timestamp>("timestamp", &self.timestamp)?;
        let snapshot = read::<Snapshot>("snapshot", &self.snapshot)?;
        let root: Draft<Root> = folder.newest("root")?.ok_or_else(|| ReleaseError::Missing("root".into()))?;
        let sound = |is: bool, otherwise: &str| {
            if is { Ok(()) } else { Err(ReleaseError::Word(otherwise.to_owned())) }
        };
        let of = |role: &str| Authority::of_root(root.says(), role);
        sound(
            of("timestamp")?.is_met(&timestamp) && of("snapshot")?.is_met(&snapshot),
            "it is signed by another key than the one that the root names",
        )?;
        let pinned = timestamp.says().meta.get("snapshot.json").and_then(|pinned| pinned.hashes.clone());
        let is_pinned = pinned.is_none_or(|hashes| hashes.get("sha256") == Some(&sha256(&self.snapshot)));
        sound(is_pinned, "its snapshot is another than its timestamp says")?;
        sound(
            snapshot.says().meta == newest_targets(folder)?,
            "it is about something else than the folder has: publish the folder, or take its newest copy",
        )?;
        Ok((snapshot.says().version(), timestamp.says().expires().min(snapshot.says().expires())))
    }
}

fn read<M: Metadata>(role: &str, bytes: &[u8]) -> Result<Draft<M>, ReleaseError> {
    Draft::read(bytes).map_err(|why| ReleaseError::Word(format!("its {role} is not understood: {why}")))
}

impl ReleaseFolder {
    /// Lays on a stick what is published, and the archives of these releases; returns until when it is good.
    pub fn lay_on_stick(
        &self,
        stick: &Self,
        word: &OnlineWord,
        releases: &[ReleaseName],
    ) -> Result<jiff::Timestamp, ReleaseError> {
        let (snapshot, until) = word.check(self)?;
        let mut files = Vec::new();
        for version in 1..=self.newest_version("root")?.unwrap_or_default() {
            files.push(("root".to_owned(), version));
        }
        for role in self.offline_roles()?.into_iter().filter(|role| role != "root") {
            files.extend(self.newest_version(&role)?.map(|version| (role, version)));
        }
        for (role, version) in files {
            let missing = || ReleaseError::Missing(format!("version {version} of {role}"));
            let bytes = self.bytes(&role, version)?.ok_or_else(missing)?;
            folder::replace(&stick.metadata(), &format!("{version}.{role}.json"), &bytes)?;
        }
        for (name, target) in self.named_targets()? {
            stick.put_target(&name, &self.small_target(&name, &target)?.1)?;
        }
        let named = self.published_releases()?;
        for release in releases {
            let found = named.iter().find(|(name, _)| name == release);
            let (name, target) = found.ok_or_else(|| ReleaseError::Missing(release.to_string()))?;
            self.copy_archive(stick, &self.manifest(&name.to_string(), target)?)?;
        }
        folder::replace(stick.root(), "beacon.json", &word.beacon)?;
        folder::replace(&stick.metadata(), &format!("{snapshot}.snapshot.json"), &word.snapshot)?;
        // Last: with a timestamp, the stick is one.
        folder::replace(&stick.metadata(), "timestamp.json", &word.timestamp)?;
        Ok(until)
    }

    fn copy_archive(&self, stick: &Self, manifest: &Manifest) -> Result<(), ReleaseError> {
        self.check_object(&manifest.archive)?;
        let (from, to) = (self.object(&manifest.archive.sha256), stick.object(&manifest.archive.sha256));
        if fs::metadata(&to).is_ok_and(|there| there.len() == manifest.archive.bytes) {
            return Ok(());
        }
        let copy = || {
            fs::create_dir_all(stick.objects())?;
            let (unfinished, mut file) = folder::begin(&stick.objects())?;
            let copied = File::open(&from)
                .and_then(|mut from| io::copy(&mut from, &mut file))
                .and_then(|_| file.sync_all())
                .and_then(|()| fs::rename(&unfinished, &to));
            if copied.is_err() {
                fs::remove_file(&unfinished)?;
            }
            copied?;
            folder::sync(&stick.objects())
        };
        copy().map_err(|why| ReleaseError::Io { path: to.clone(), why })
    }
}
