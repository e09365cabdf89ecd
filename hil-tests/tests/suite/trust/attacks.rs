//! What is signed wrongly, is old, or does not belong together. The attacker holds the server, and the keys that a test names.

use super::world::{DAY, TARGET, World, YEAR, in_days, now, refused};
use noderr_releases::{
    FileKey, ReleaseKey as _, RoleKeys, SignedMetadata, Snapshot, Targets, Timestamp, refresh_online,
};
use noderr_update::{Refusal, TrustError};
use std::fs;
use std::time::SystemTime;

#[tokio::test]
async fn a_target_is_found_through_its_delegation_and_is_what_was_signed() -> anyhow::Result<()> {
    let world = World::new().await?;
    for mut trust in [world.client("box")?, world.client_of_stick("offline")?] {
        trust.refresh(SystemTime::now()).await?;
        let target = trust.target(TARGET, SystemTime::now()).await?;
        assert_eq!(trust.read(&target).await?, b"the first");
        let missing = trust.target("os/generic/9.9.9", SystemTime::now()).await;
        assert_eq!(refused(missing)?, Refusal::NotNamed);
    }
    Ok(())
}

#[tokio::test]
async fn arbitrary_software_is_signed_by_nobody_who_may() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut evil = Targets::new(2, in_days(YEAR));
    evil.name(TARGET, b"evil");
    world.publish("os", evil, &FileKey::generate())?;
    world.refresh_online()?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(refused(trust.target(TARGET, SystemTime::now()).await)?, Refusal::NotSigned);
    Ok(())
}

#[tokio::test]
async fn whoever_writes_to_a_box_s_disk_gives_it_no_other_root() -> anyhow::Result<()> {
    let (world, other) = (World::new().await?, World::new().await?);
    for version in 2..=3 {
        world.publish_root(version, |_| {})?;
        other.publish_root(version, |_| {})?;
    }
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    let shelf = world.shelf("box");
    // The chain of another network in place of this one's, and nothing that remembers how far the box was.
    fs::remove_file(shelf.join("floor"))?;
    for root in ["1.root.json", "2.root.json", "3.root.json"] {
        fs::write(shelf.join("roots").join(root), other.published(root)?)?;
    }
    fs::write(shelf.join("root.json"), other.published("3.root.json")?)?;
    let mut trust = world.client_of(&shelf, &other.address)?;
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::NotSigned);
    // What was spoilt is mended by asking.
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(trust.root_version(), 3);
    Ok(())
}

#[tokio::test]
async fn a_role_names_nothing_beyond_its_delegation() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.publish_os(2, |os| os.name("models/btc/1.0.0", b"from the keys of the OS"))?;
    world.refresh_online()?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(refused(trust.target("models/btc/1.0.0", SystemTime::now()).await)?, Refusal::NotNamed);
    Ok(())
}

#[tokio::test]
async fn no_role_is_rolled_back() -> anyhow::Result<()> {
    let world = World::new().await?;
    let before = |name: &str| world.published(name);
    let (timestamp, snapshot, os) =
        (before("timestamp.json")?, before("1.snapshot.json")?, before("1.os.json")?);
    world.publish_root(2, |_| {})?;
    world.release_another(2)?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    trust.target(TARGET, SystemTime::now()).await?;
    // A box that starts again knows what it has seen.
    drop(trust);
    let mut trust = world.client("box")?;
    world.lie("metadata/timestamp.json", timestamp);
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::RolledBack);
    world.be_honest();
    // Whoever holds the online key signs the old snapshot anew, or old versions in a new one.
    let sign = |version, pinned: (u64, &[u8])| {
        let mut draft = SignedMetadata::new(Timestamp::new(version, in_days(7), pinned));
        draft.sign(&world.online).and_then(|()| draft.to_bytes())
    };
    world.lie("metadata/timestamp.json", sign(9, (1, &snapshot))?);
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::RolledBack);
    let old: SignedMetadata<Snapshot> = serde_json::from_slice(&snapshot)?;
    let mut again = SignedMetadata::new(Snapshot::new(9, in_days(7), old.says().meta.clone()));
    again.sign(&world.online)?;
    world.lie("metadata/9.snapshot.json", again.to_bytes()?);
    world.lie("metadata/timestamp.json", sign(9, (9, &again.to_bytes()?))?);
    // Not at the second try either, when the timestamp of the first is kept already.
    for _ in 0..3 {
        let mut again = world.client("box")?;
        assert_eq!(refused(again.refresh(SystemTime::now()).await)?, Refusal::RolledBack);
        // What it has left behind names nothing, and denies nothing either.
        let named = again.target(TARGET, SystemTime::now()).await;
        assert!(matches!(named, Err(TrustError::Unreachable(_))), "{named:?}");
    }
    world.be_honest();
    world.lie("metadata/2.os.json", os);
    let mut fresh = world.client("another")?;
    fresh.refresh(SystemTime::now()).await?;
    assert_eq!(refused(fresh.target(TARGET, SystemTime::now()).await)?, Refusal::Mismatched);
    // An old root has the number of its place and no other.
    world.lie("metadata/3.root.json", before("1.root.json")?);
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::RolledBack);
    Ok(())
}

#[tokio::test]
async fn fast_forward_is_recovered_from_by_new_keys() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    // The stolen online key signs the highest versions that there are.
    let far: u64 = 1 << 62;
    let stolen = std::mem::replace(&mut world.online, FileKey::generate());
    let snapshot: SignedMetadata<Snapshot> = serde_json::from_slice(&world.published("1.snapshot.json")?)?;
    let mut forward = SignedMetadata::new(Snapshot::new(far, in_days(30), snapshot.says().meta.clone()));
    forward.sign(&stolen)?;
    let mut timestamp = SignedMetadata::new(Timestamp::new(far, in_days(7), (far, &forward.to_bytes()?)));
    timestamp.sign(&stolen)?;
    world.lie(&format!("metadata/{far}.snapshot.json"), forward.to_bytes()?);
    world.lie("metadata/timestamp.json", timestamp.to_bytes()?);
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    world.be_honest();
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::RolledBack, "as the thief wants");
    world.publish_root(2, |_| {})?;
    fs::remove_file(world.folder.metadata().join("1.snapshot.json"))?;
    fs::remove_file(world.folder.metadata().join("timestamp.json"))?;
    refresh_online(&world.folder, now(), &world.online, &world.online)?;
    trust.refresh(SystemTime::now()).await?;
    trust.target(TARGET, SystemTime::now()).await?;
    Ok(())
}

#[tokio::test]
async fn nobody_is_frozen_for_longer_than_a_timestamp_lasts() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    world.lie("metadata/timestamp.json", world.published("timestamp.json")?);
    world.release_another(2)?;
    trust.refresh(SystemTime::now() + DAY).await?;
    assert_eq!(refused(trust.target(TARGET, SystemTime::now() + 8 * DAY).await)?, Refusal::Expired);
    assert_eq!(refused(trust.refresh(SystemTime::now() + 8 * DAY).await)?, Refusal::Expired);
    Ok(())
}

#[tokio::test]
async fn versions_that_do_not_belong_together_are_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let targets = world.published("1.targets.json")?;
    world.publish_targets(2, |_| {})?;
    world.release_another(2)?;
    world.lie("metadata/2.targets.json", targets);
    assert_eq!(refused(world.client("box")?.refresh(SystemTime::now()).await)?, Refusal::Mismatched);
    Ok(())
}

#[tokio::test]
async fn a_root_takes_as_many_keys_as_it_says_and_each_counts_once() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    let mut alone = world.draft_root(2, |_| {});
    alone.sign(&world.root[0])?;
    world.lie("metadata/2.root.json", alone.to_bytes()?);
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::NotSigned);
    // The same signature again.
    let mut twice: serde_json::Value = serde_json::from_slice(&alone.to_bytes()?)?;
    let signature = twice["signatures"][0].clone();
    twice["signatures"] = serde_json::json!([signature, signature]);
    world.lie("metadata/2.root.json", twice.to_string().into_bytes());
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::NotSigned);
    // One key under two ids, in a root that two have signed: from then on, one would be enough.
    let mut doubled = world.draft_root(2, |root| {
        let key = world.root[0].public();
        root.keys.insert("another-id".to_owned(), key.clone());
        root.roles.insert(
            "root".to_owned(),
            RoleKeys { keyids: vec![key.id(), "another-id".to_owned()], threshold: 2 },
        );
    });
    doubled.sign(&world.root[0])?;
    doubled.sign(&world.root[1])?;
    let mut doubled: serde_json::Value = serde_json::from_slice(&doubled.to_bytes()?)?;
    let mut again = doubled["signatures"][0].clone();
    again["keyid"] = "another-id".into();
    doubled["signatures"].as_array_mut().expect("a list").push(again);
    world.lie("metadata/2.root.json", doubled.to_string().into_bytes());
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::Malformed);
    Ok(())
}

#[tokio::test]
async fn a_key_that_was_taken_away_signs_nothing_any_more() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    let successor = FileKey::generate();
    let mut targets = Targets::new(2, in_days(YEAR));
    targets.delegate("os", &["os/*/*"], &[successor.public()], 1);
    world.publish("targets", targets, &world.targets)?;
    world.publish_os(2, |os| os.name(TARGET, b"by the old key"))?;
    world.refresh_online()?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(refused(trust.target(TARGET, SystemTime::now()).await)?, Refusal::NotSigned);
    // The same one step up: the root takes the key of the targets away.
    world.publish_root(2, |root| {
        root.keys.insert(successor.public().id(), successor.public().clone());
        root.roles.insert("targets".to_owned(), RoleKeys::of(&[successor.public()], 1));
    })?;
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::NotSigned);
    Ok(())
}

#[tokio::test]
async fn a_role_that_was_taken_away_names_nothing_any_more() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    trust.target(TARGET, SystemTime::now()).await?;
    // The snapshot goes on to pin the role: one that vanished would look like a rollback.
    world.publish_targets(2, |targets| targets.delegate("os", &["nothing/*"], &[world.os.public()], 1))?;
    world.refresh_online()?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(refused(trust.target(TARGET, SystemTime::now()).await)?, Refusal::NotNamed);
    Ok(())
}

#[tokio::test]
async fn a_box_that_slept_through_five_roots_follows_their_chain_over_one_that_has_ended()
-> anyhow::Result<()> {
    let world = World::new().await?;
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    for version in 2..=6 {
        let ended = version == 4;
        world.publish_root(version, |root| {
            if ended {
                root.expires = now() - DAY;
            }
        })?;
    }
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(trust.root_version(), 6);
    drop(trust);
    // The box has kept where it was, and needs the chain no more.
    for version in 2..=6 {
        fs::remove_file(world.folder.metadata().join(format!("{version}.root.json")))?;
    }
    let mut trust = world.client("box")?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(trust.root_version(), 6);
    // A chain that ends in what has ended is no good.
    world.publish_root(7, |root| root.expires = now() - DAY)?;
    assert_eq!(refused(trust.refresh(SystemTime::now()).await)?, Refusal::Expired);
    Ok(())
}
