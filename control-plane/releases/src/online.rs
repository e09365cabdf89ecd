//! The two roles that are signed online: which versions belong together, and that this is still so. Whoever holds their keys
//! can hide what is new, until what the offline keys have signed ends, and name nothing that they have not named.

use crate::ReleaseError;
use crate::folder::ReleaseFolder;
use crate::key::ReleaseKey;
use crate::metadata::{MetaFile, Metadata as _, Snapshot, Targets, Timestamp};
use crate::signed::SignedMetadata;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a snapshot is good for.
const SNAPSHOT: Duration = Duration::from_secs(30 * 86_400);
/// How long a timestamp is good for: a box that is shown old ones notices after this.
const TIMESTAMP: Duration = Duration::from_secs(7 * 86_400);

/// Publishes a snapshot of the newest targets, where that says something new, and a timestamp.
pub fn refresh_online(
    folder: &ReleaseFolder,
    now: jiff::Timestamp,
    snapshot: &dyn ReleaseKey,
    timestamp: &dyn ReleaseKey,
) -> Result<(), ReleaseError> {
    refresh_online_from(1, folder, now, (snapshot, timestamp), None)
}

/// The same with versions of at least `least`, and with what channels have.
pub fn refresh_online_from(
    least: u64,
    folder: &ReleaseFolder,
    now: jiff::Timestamp,
    (snapshot, timestamp): (&dyn ReleaseKey, &dyn ReleaseKey),
    beacon: Option<&[u8]>,
) -> Result<(), ReleaseError> {
    let before: Option<SignedMetadata<Snapshot>> = folder.newest("snapshot")?;
    let meta = newest_targets(folder)?;
    // One that another key has signed is of no use to a box that has the newest root.
    let is_good = |before: &SignedMetadata<Snapshot>| {
        before.says().meta == meta
            && before.says().expires() >= now + SNAPSHOT / 2
            && before.is_signed_by(snapshot.public())
    };
    let is_new = !before.as_ref().is_some_and(is_good);
    let newest = match before {
        Some(before) if !is_new => before,
        before => {
            let version = (before.map_or(0, |before| before.says().version()) + 1).max(least);
            let mut draft = SignedMetadata::new(Snapshot::new(version, now + SNAPSHOT, meta));
            draft.sign(snapshot)?;
            folder.put("snapshot", &draft)?;
            draft
        }
    };
    let version = (folder.timestamp()?.map_or(0, |before| before.says().version()) + 1).max(least);
    let pinned = (newest.says().version(), &newest.to_bytes()?[..]);
    let says = Timestamp::new(version, now + TIMESTAMP, pinned);
    let mut draft = SignedMetadata::new(match beacon {
        Some(beacon) => says.with_beacon(beacon),
        None => says,
    });
    draft.sign(timestamp)?;
    folder.put_timestamp(&draft)
}

/// A timestamp of the same snapshot as the one before, with what channels have now.
pub fn timestamp_with(
    beacon: &[u8],
    before: &SignedMetadata<Timestamp>,
    least: u64,
    now: jiff::Timestamp,
    key: &dyn ReleaseKey,
) -> Result<SignedMetadata<Timestamp>, ReleaseError> {
    let version = (before.says().version() + 1).max(least);
    let mut draft = SignedMetadata::new(before.says().again(version, now + TIMESTAMP).with_beacon(beacon));
    draft.sign(key)?;
    Ok(draft)
}

/// The newest versions of the targets role and of all below it.
pub(crate) fn newest_targets(folder: &ReleaseFolder) -> Result<BTreeMap<String, MetaFile>, ReleaseError> {
    let missing = |role: &str| ReleaseError::Missing(role.to_owned());
    let (mut meta, mut roles) = (BTreeMap::new(), vec!["targets".to_owned()]);
    while let Some(role) = roles.pop() {
        let version = folder.newest_version(&role)?.ok_or_else(|| missing(&role))?;
        // By its bytes: a draft that was signed and given up may have the same version.
        let bytes = folder.bytes(&role, version)?.ok_or_else(|| missing(&role))?;
        let says: SignedMetadata<Targets> = folder.version(&role, version)?.ok_or_else(|| missing(&role))?;
        let below = says.says().delegations.iter().flat_map(|delegations| &delegations.roles);
        meta.insert(format!("{role}.json"), MetaFile::of(version, &bytes));
        roles.extend(
            below.map(|role| role.name.clone()).filter(|role| !meta.contains_key(&format!("{role}.json"))),
        );
    }
    Ok(meta)
}
