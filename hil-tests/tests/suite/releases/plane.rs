//! The control plane: what it refuses to show, who gets what, and that every instance shows the same.

use super::Network;
use anyhow::{Context as _, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use noderr_cli::{ApiError, Client};
use noderr_hil::manager::{noise, refusal};
use noderr_hil::{BoxOptions, ControlPlane, LabOptions, SOON, until};
use noderr_protocol::release::Manifest;
use noderr_releases::{FileKey, SignedMetadata, Targets, Timestamp};
use serde_json::{Value, json};

/// What a control plane shows at a path under `/releases/`.
async fn shown(plane: &ControlPlane, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
    plane.shows(&format!("/releases/{path}")).await
}

async fn channels_of_beacon(plane: &ControlPlane) -> anyhow::Result<Vec<Value>> {
    let beacon: Value = serde_json::from_slice(&shown(plane, "beacon.json").await?.context("a beacon")?)?;
    Ok(beacon["channels"].as_array().context("channels")?.clone())
}

/// Why a publication is refused.
async fn put(client: &Client, metadata: Value, targets: Value) -> anyhow::Result<String> {
    let body = json!({ "metadata": metadata, "targets": targets });
    match client.put("/release-metadata", &body).await {
        Err(ApiError::Refused { kind, detail, .. }) => Ok(format!("{kind}: {detail}")),
        Err(error) => Err(error.into()),
        Ok(done) => anyhow::bail!("it was published: {done}"),
    }
}

fn signed(role: &str, version: u64, body: &[u8]) -> Value {
    json!({ "role": role, "version": version, "body": BASE64_STANDARD.encode(body) })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_fit_is_refused_before_anything_is_shown() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (admin, folder, plane) = (&network.lab.admin, &network.manager.folder, &network.lab.control);
    let manifest = network.manager.release("os/generic/1.0.0", &noise(50_000, 1))?;
    let before = shown(plane, "metadata/timestamp.json").await?;
    let role = noderr_releases::shelf_of(&manifest.release);
    let honest = folder.bytes(&role, 2)?.context("the shelf")?;
    let (target, bytes) = {
        let file = folder.releases()?.remove(0).1;
        ("os/generic/1.0.0", folder.small_target("os/generic/1.0.0", &file)?.1)
    };
    let small = |name: &str, body: &[u8]| json!([{ "name": name, "body": BASE64_STANDARD.encode(body) }]);
    let named = small(target, &bytes);
    // Nobody's signature, another's, and one that is too old.
    let says: SignedMetadata<Targets> = serde_json::from_slice(&honest)?;
    let unsigned = SignedMetadata::new(says.says().clone()).to_bytes()?;
    let mut strange = SignedMetadata::new(says.says().clone());
    strange.sign(&FileKey::generate())?;
    let mut ended = says.says().clone();
    ended.expires = "2020-01-01T00:00:00Z".parse()?;
    let ended = network.manager.signed_by_kind(ended)?;
    let first = folder.bytes(&role, 1)?.context("the first")?;
    // Named by a shelf that is not the release's own; and with words that no signature covers.
    let other = if role == "os-0" { "os-1" } else { "os-0" };
    let elsewhere = network.manager.signed_by_kind(says.says().clone())?;
    let spoiled = String::from_utf8(honest.clone())?.replacen("{\"signed\":{", "{\"signed\":{\"x\":1,", 1);
    let spoiled = spoiled.into_bytes();
    for (why, metadata, targets) in [
        ("not signed by enough", json!([signed(&role, 2, &unsigned)]), &named),
        ("not signed by enough", json!([signed(&role, 2, &strange.to_bytes()?)]), &named),
        ("ended at 2020", json!([signed(&role, 2, &ended)]), &named),
        ("published already", json!([signed(&role, 1, &first)]), &named),
        ("os/generic/1.0.0, which", json!([signed(&role, 2, &honest)]), &json!([])),
        ("archive-missing", json!([signed(&role, 2, &honest)]), &named),
        ("control plane's own", json!([signed("timestamp", 9, &honest)]), &named),
        ("no name", json!([signed("../../os", 2, &honest)]), &named),
        ("no name", json!([signed(&role, 2, &honest)]), &small("os/../../x", &bytes)),
        ("not understood", json!([signed(&role, 2, b"{}")]), &named),
        ("not understood", json!([signed(&role, 3, &honest)]), &named),
        // The last one would be checked, and the first one shown.
        ("there twice", json!([signed(&role, 2, b"{}"), signed(&role, 2, &honest)]), &named),
        // What nobody looks at must not be shown.
        ("no version", json!([signed("root", 5_000_000_000, b"{}")]), &named),
        ("no version", json!([signed(&role, 5_000_000_000, &honest)]), &named),
        ("no new metadata", json!([]), &json!([])),
        ("200 letters", json!([signed(&"x".repeat(5000), 1, b"{}")]), &json!([])),
        ("nobody has let", json!([signed("os-9", 1, &honest), signed(&role, 2, &honest)]), &named),
        ("not its to name", json!([signed(other, 2, &elsewhere)]), &named),
        ("says more than is understood", json!([signed(&role, 2, &spoiled)]), &named),
    ] {
        let refused = put(admin, metadata, targets.clone()).await?;
        ensure!(refused.contains(why), "{why}: {refused}");
        assert_eq!(shown(plane, "metadata/timestamp.json").await?, before, "{why}");
    }
    // The same folder, by the tool, is fit.
    network.manager.publish(&network.publisher).await?;
    assert!(shown(plane, &format!("metadata/2.{role}.json")).await?.is_some());
    Ok(())
}

/// Copies a folder of releases onto another stick.
fn copied(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    let done = std::process::Command::new("cp").arg("-r").args([from, to]).status()?;
    ensure!(done.success(), "{} cannot be copied", from.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_older_or_went_another_way_is_not_published() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let folder = manager.folder.root();
    let place = tempfile::tempdir()?;
    let [older, other] = ["older", "other"].map(|name| place.path().join(name));
    let publish = async |folder: &std::path::Path| {
        refusal(publisher.ctl(&["release", "publish", &folder.display().to_string()]).await)
    };
    copied(folder, &older)?;
    manager.release("os/generic/1.0.0", &noise(50_000, 1))?;
    std::fs::rename(folder, &other)?;
    copied(&older, folder)?;
    // Another file by the same name, from a copy of the folder.
    manager.release("os/generic/1.0.0", &noise(50_000, 2))?;
    manager.publish(publisher).await?;
    let refused = publish(&other).await?;
    ensure!(refused.contains("published with other words"), "{refused}");
    let refused = publish(&older).await?;
    ensure!(refused.contains("the folder is older"), "{refused}");
    let again = publisher.ctl(&["release", "publish", &folder.display().to_string()]).await?;
    ensure!(again.contains("nothing to publish"), "{again}");
    // A version that was withdrawn is used up.
    manager.withdraw("os/generic/1.0.0")?;
    let again = manager.release("os/generic/1.0.0", &noise(50_000, 1));
    ensure!(again.is_err_and(|error| error.to_string().contains("another version")));
    Ok(())
}

/// What a control plane says to a release that everybody has signed unseen, and whose manifest is spoilt.
async fn spoilt(spoil: fn(&mut Manifest)) -> anyhow::Result<String> {
    let network = Network::start(LabOptions::default()).await?;
    let (admin, folder) = (&network.lab.admin, &network.manager.folder);
    let name = "os/generic/1.0.0";
    let manifest = network.manager.release_with(name, &noise(50_000, 1), spoil)?;
    let archive = std::fs::read(folder.object(&manifest.archive.sha256))?;
    let path = format!("/release-archives/{}", hex::encode(manifest.archive.sha256.0));
    let range = format!("bytes 0-{}/{}", archive.len() - 1, archive.len());
    // Two who send the same at once do not spoil it for each other.
    let (one, other) = tokio::join!(
        admin.put_part(&path, archive.clone(), &range),
        admin.put_part(&path, archive.clone(), &range)
    );
    ensure!(one?["stored"] == true || other?["stored"] == true);
    let role = noderr_releases::shelf_of(&manifest.release);
    let shelf = folder.bytes(&role, 2)?.context("the shelf")?;
    let (_, bytes) = folder.small_target(name, &folder.releases()?.remove(0).1)?;
    let targets = json!([{ "name": name, "body": BASE64_STANDARD.encode(bytes) }]);
    put(admin, json!([signed(&role, 2, &shelf)]), targets).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_no_box_could_use_is_refused_although_everybody_has_signed() -> anyhow::Result<()> {
    let refused = spoilt(|manifest| manifest.archive.index_sha256.0[0] ^= 1).await?;
    ensure!(refused.contains("another index"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_builder_has_built_is_refused_although_everybody_has_signed() -> anyhow::Result<()> {
    let refused =
        spoilt(|manifest| manifest.minisig = manifest.minisig.replacen("1.0.0", "1.0.1", 1)).await?;
    ensure!(refused.contains("boxes would not take os/generic/1.0.0"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_what_the_channel_that_is_most_its_own_has() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let (plain, first) = network.lab.online_box("plain", &BoxOptions::PLAIN).await?;
    let (oracle, second) = network.lab.online_box("oracle", &BoxOptions::PLAIN).await?;
    for (release, seed) in [("models/btc/1.0.0", 1), ("models/btc/2.0.0", 2)] {
        manager.release(release, &noise(30_000, seed))?;
    }
    let only = |word: &str| vec![word.parse().expect("a word")];
    let tier = only("oracle");
    manager.release_with("models/btc/3.0.0", &noise(30_000, 3), move |manifest| manifest.tiers = tier)?;
    manager.publish(publisher).await?;
    publisher.ctl(&["channels", "activate", "models/btc/1.0.0"]).await?;
    for rig in [&first, &second] {
        rig.release_is("models/btc/1.0.0", "held", SOON).await?;
    }
    publisher
        .ctl(&["channels", "activate", "models/btc/2.0.0", "--hardware", std::env::consts::ARCH])
        .await?;
    for rig in [&first, &second] {
        rig.release_is("models/btc/2.0.0", "held", SOON).await?;
    }
    for (arguments, why) in [
        (&["channels", "activate", "models/btc/3.0.0"][..], "for oracle alone"),
        (&["channels", "activate", "models/btc/3.0.0", "--tier", "guardian"], "for oracle alone"),
        (&["channels", "activate", "models/btc/3.0.0", "--tier", "king"], "a tier is one of"),
        (&["channels", "activate", "models/btc/9.0.0"], "no such release"),
        (&["channels", "activate", "models/btc"], "no release"),
        (&["channels", "deactivate", "models/btc/1.0.0"], "without its version"),
        (&["channels", "deactivate", "models/btc", "--tier", "oracle"], "exactly this channel"),
    ] {
        let refused = refusal(publisher.ctl(arguments).await)?;
        ensure!(refused.contains(why), "{arguments:?}: {refused}");
    }
    publisher.ctl(&["channels", "activate", "models/btc/3.0.0", "--tier", "oracle"]).await?;
    network.lab.admin.patch(&format!("/nodes/{oracle}/desired"), &json!({ "tier": "oracle" })).await?;
    second.release_is("models/btc/3.0.0", "held", SOON).await?;
    assert_eq!(first.releases().await?[0]["release"], "models/btc/2.0.0", "it is of no tier");
    // Withdrawn: out of its channel, and the next best counts again.
    manager.withdraw("models/btc/3.0.0")?;
    manager.publish(publisher).await?;
    second.release_is("models/btc/2.0.0", "held", SOON).await?;
    let refused =
        refusal(publisher.ctl(&["channels", "activate", "models/btc/3.0.0", "--tier", "oracle"]).await)?;
    ensure!(refused.contains("withdrawn"), "{refused}");
    let history = publisher.json(&["channels", "history"]).await?;
    assert_eq!(history.as_array().map(Vec::len), Some(3), "{history}");
    let seen = publisher.json(&["nodes", "releases", &plain]).await?;
    assert_eq!((&seen[0]["version"], &seen[0]["state"]), (&json!("2.0.0"), &json!("held")));
    publisher.ctl(&["channels", "deactivate", "models/btc", "--hardware", std::env::consts::ARCH]).await?;
    publisher.ctl(&["channels", "deactivate", "models/btc"]).await?;
    until("the node to be told nothing", SOON, || async {
        Ok(first.releases().await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beacon_says_what_is_active_and_nothing_that_the_metadata_does_not() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let plane = &network.lab.control;
    assert!(channels_of_beacon(plane).await?.is_empty());
    network.manager.release("os/generic/1.0.0", &noise(30_000, 1))?;
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", "os/generic/1.0.0", "--tier", "oracle"]).await?;
    let channels = until("the beacon", SOON, || async {
        let channels = channels_of_beacon(plane).await?;
        Ok((!channels.is_empty()).then_some(channels))
    })
    .await?;
    let expected = json!([{ "kind": "os", "name": "generic", "tier": "oracle", "hardware": "any",
        "version": "1.0.0", "release": "os/generic/1.0.0" }]);
    assert_eq!(json!(channels), expected);
    network.manager.withdraw("os/generic/1.0.0")?;
    network.manager.publish(&network.publisher).await?;
    until("the beacon to say nothing", SOON, || async {
        Ok(channels_of_beacon(plane).await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_at_one_instance_is_shown_by_all_and_renewed_by_one() -> anyhow::Result<()> {
    let mut network = Network::start(LabOptions::default()).await?;
    let mut second = network.lab.add_plane("second").await?;
    let manifest = network.manager.release("os/generic/1.0.0", &noise(30_000, 1))?;
    let timestamp = "metadata/timestamp.json";
    let before = shown(&network.lab.control, timestamp).await?;
    network.manager.publish(&network.publisher).await?;
    let newest = until("both instances to show it", SOON, || async {
        let here = shown(&network.lab.control, timestamp).await?;
        let is_new = here != before && shown(&second, timestamp).await? == here;
        Ok(here.filter(|_| is_new))
    })
    .await?;
    let archive = hex::encode(manifest.archive.sha256.0);
    assert!(shown(&second, &format!("objects/{archive}")).await?.is_some());
    // Two days later, a timestamp of seven days is renewed: once, however many instances there are.
    second.stop().await?;
    // While PostgreSQL has a connection of the one, the other leaves PostgreSQL running, whose clock would stay as it is.
    let others = "SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE application_name LIKE 'noderr-control %'";
    until("the connections of the second one to end", SOON, || async {
        let others: i64 = sqlx::query_scalar(others).fetch_one(&network.lab.database).await?;
        Ok((others <= 1).then_some(()))
    })
    .await?;
    network.lab.control.stop().await?;
    for plane in [&mut network.lab.control, &mut second] {
        plane.start_at("+2d").await?;
    }
    let before: SignedMetadata<Timestamp> = serde_json::from_slice(&newest)?;
    let before = i64::try_from(before.says().version)?;
    let versions = || async {
        let asked = "SELECT version FROM release_metadata WHERE role = 'timestamp' AND version > $1";
        Ok::<Vec<i64>, anyhow::Error>(
            sqlx::query_scalar(asked).bind(before).fetch_all(&network.lab.database).await?,
        )
    };
    until("the timestamp to be renewed", SOON, || async {
        let asked = "SELECT outcome FROM job_runs WHERE name = 'renew-online-roles' ORDER BY id";
        let runs: Vec<Option<String>> = sqlx::query_scalar(asked).fetch_all(&network.lab.database).await?;
        ensure!(!versions().await?.is_empty(), "the runs of the job: {runs:?}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(versions().await?.len(), 1, "it was renewed by more than one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_withdrawn_does_not_go_out_before() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let release = "os/generic/1.0.0";
    manager.release(release, &noise(50_000, 1))?;
    manager.folder.withdraw(&release.parse()?)?;
    let refused = refusal(manager.publish(publisher).await)?;
    ensure!(refused.contains("is to be withdrawn"), "{refused}");
    ensure!(publisher.ctl(&["published", "list"]).await?.lines().all(|line| !line.contains(release)));
    // Signed by all, the withdrawal goes out as well, and nothing is there that a channel could have.
    manager.sign()?;
    manager.publish(publisher).await?;
    ensure!(refusal(publisher.ctl(&["channels", "activate", release]).await)?.contains("no such release"));
    Ok(())
}
