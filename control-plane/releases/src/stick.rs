//! A stick for boxes without a network, or with an expensive one: what is published, what the control plane has signed of it, and
//! the archives that boxes should hold. Boxes take the stick for as long as the control plane's signatures are good.

use crate::ReleaseError;
use crate::authority::Authority;
use crate::digest::sha256;
use crate::folder::{self, ReleaseFolder};
use crate::metadata::{Metadata, Root, Snapshot, TargetFile, Targets, Timestamp};
use crate::online::newest_targets;
use crate::signed::SignedMetadata;
use noderr_protocol::release::{BEACON_FILE, Manifest, ReleaseName, TIMESTAMP_FILE, metadata_file};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;

/// What the control plane hands out beside what is published: files that it makes itself.
pub struct OnlineFiles {
    /// `timestamp.json`.
    pub timestamp: Vec<u8>,
    /// The snapshot that it names.
    pub snapshot: Vec<u8>,
    /// `beacon.json`: which releases boxes should hold.
    pub beacon: Vec<u8>,
}

impl OnlineFiles {
    /// The version of the snapshot that a timestamp names.
    pub fn snapshot_version(timestamp: &[u8]) -> Result<u64, ReleaseError> {
        let pinned = read::<Timestamp>("timestamp", timestamp)?.says().meta.get("snapshot.json").cloned();
        Ok(pinned
            .ok_or_else(|| ReleaseError::NotForAStick("its timestamp names no snapshot".to_owned()))?
            .version)
    }

    /// Makes sure that these files are the control plane's, that they are about what the folder has, and that boxes take them now;
    /// returns the snapshot's version, and until when boxes take it.
    fn check(
        &self,
        folder: &ReleaseFolder,
        now: jiff::Timestamp,
    ) -> Result<(u64, jiff::Timestamp), ReleaseError> {
        let timestamp = read::<Timestamp>("timestamp", &self.timestamp)?;
        let snapshot = read::<Snapshot>("snapshot", &self.snapshot)?;
        let root: SignedMetadata<Root> =
            folder.newest("root")?.ok_or_else(|| ReleaseError::Missing("root".into()))?;
        let ensure = |is: bool, otherwise: &str| {
            if is { Ok(()) } else { Err(ReleaseError::NotForAStick(otherwise.to_owned())) }
        };
        let of = |role: &str| Authority::of_root(root.says(), role);
        ensure(
            of("timestamp")?.is_met(&timestamp) && of("snapshot")?.is_met(&snapshot),
            "it is signed by another key than the one that the root names",
        )?;
        let pinned = timestamp.says().meta.get("snapshot.json").and_then(|pinned| pinned.hashes.clone());
        let is_pinned = pinned.is_none_or(|hashes| hashes.get("sha256") == Some(&sha256(&self.snapshot)));
        ensure(is_pinned, "the snapshot is not the one that the timestamp names")?;
        let is_named =
            timestamp.says().beacon.as_ref().is_some_and(|named| {
                *named == TargetFile::of(self.beacon.len() as u64, sha256(&self.beacon))
            });
        ensure(
            is_named,
            "channels have changed in this moment, or the control plane has not signed what they have: try again",
        )?;
        ensure(
            snapshot.says().meta == newest_targets(folder)?,
            "it is about something else than the folder has: publish the folder, or take its newest copy",
        )?;
        let mut until = timestamp.says().expires().min(snapshot.says().expires()).min(root.says().expires());
        for role in folder.offline_roles()?.into_iter().filter(|role| role != "root") {
            let ends = folder.newest::<Targets>(&role)?.map(|targets| targets.says().expires());
            until = ends.map_or(until, |ends| until.min(ends));
        }
        ensure(
            until > now,
            &format!("it has ended at {until}: the control plane has not renewed it, or a clock is wrong"),
        )?;
        Ok((snapshot.says().version(), until))
    }
}

fn read<M: Metadata>(role: &str, bytes: &[u8]) -> Result<SignedMetadata<M>, ReleaseError> {
    SignedMetadata::read(bytes)
        .map_err(|why| ReleaseError::NotForAStick(format!("its {role} is not understood: {why}")))
}

impl ReleaseFolder {
    /// Lays on a stick what is published, and the archives of these releases; returns until when it is good.
    pub fn lay_on_stick(
        &self,
        stick: &Self,
        online: &OnlineFiles,
        releases: &[ReleaseName],
        now: jiff::Timestamp,
    ) -> Result<jiff::Timestamp, ReleaseError> {
        let (snapshot, until) = online.check(self, now)?;
        stick.refuse_links()?;
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
            folder::replace(&stick.metadata(), &metadata_file(&role, version), &bytes)?;
        }
        for (name, target) in self.named_targets()? {
            let bytes = self.small_target(&name, &target)?.1;
            stick.put_target(&name, &bytes)?;
            // One that is there already may be damaged.
            if stick.small_target(&name, &target).is_err() {
                stick.replace_target(&name, &target, &bytes)?;
            }
        }
        let named = self.signed_releases()?;
        self.sweep(stick, releases)?;
        for release in releases {
            let found = named.iter().find(|(name, _)| name == release);
            let (name, target) = found.ok_or_else(|| ReleaseError::Missing(release.to_string()))?;
            self.copy_archive(stick, &self.manifest(&name.to_string(), target)?)?;
        }
        folder::replace(stick.root(), BEACON_FILE, &online.beacon)?;
        folder::replace(&stick.metadata(), &metadata_file("snapshot", snapshot), &online.snapshot)?;
        // Last: with a timestamp, the stick is one.
        folder::replace(&stick.metadata(), TIMESTAMP_FILE, &online.timestamp)?;
        Ok(until)
    }

    /// Removes archives of earlier layings, and what was copied halfway: sticks are small.
    fn sweep(&self, stick: &Self, releases: &[ReleaseName]) -> Result<(), ReleaseError> {
        let mut needed = BTreeSet::new();
        for (name, target) in self.signed_releases()?.iter().filter(|(name, _)| releases.contains(name)) {
            needed.insert(hex::encode(self.manifest(&name.to_string(), target)?.archive.sha256.0));
        }
        let folder = stick.objects();
        let sweep = || {
            for entry in fs::read_dir(&folder)? {
                let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
                let name = name.to_string_lossy();
                let is_archive = name.len() == 64 && hex::decode(&*name).is_ok();
                if (is_archive && !needed.contains(&*name)) || name.ends_with(".unfinished") {
                    fs::remove_file(entry)?;
                }
            }
            Ok::<_, io::Error>(())
        };
        match sweep() {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(ReleaseError::Io { path: folder, why }),
            _ => Ok(()),
        }
    }

    fn copy_archive(&self, stick: &Self, manifest: &Manifest) -> Result<(), ReleaseError> {
        self.check_object(&manifest.archive)?;
        let (from, to) = (self.object(&manifest.archive.sha256), stick.object(&manifest.archive.sha256));
        if stick.check_object(&manifest.archive).is_ok() {
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
