//! Archives on their way to the control plane.

use super::Network;
use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use noderr_cli::{ApiError, Client};
use noderr_hil::manager::noise;
use noderr_hil::{Lab, LabOptions, SOON, SmallDisk, scratch, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_the_archive_that_it_goes_by_or_nothing() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (admin, archive) = (&network.lab.admin, "0f".repeat(32));
    let path = format!("/release-archives/{archive}");
    let wrong = admin.put_part(&path, vec![0; 10], "bytes 0-9/10").await;
    assert_eq!(
        wrong.err().and_then(|error| error.kind().map(str::to_owned)).as_deref(),
        Some("archive-mismatch")
    );
    let gap = admin.put_part(&path, vec![0; 10], "bytes 7-16/100").await;
    assert_eq!(gap.err().and_then(|error| error.kind().map(str::to_owned)).as_deref(), Some("upload-offset"));
    // What was begun is not ended as something else.
    admin.put_part(&path, vec![0; 2], "bytes 0-1/3").await?;
    let other = admin.put_part(&path, vec![0; 1], "bytes 2-2/4").await;
    assert_eq!(
        other.err().and_then(|error| error.kind().map(str::to_owned)).as_deref(),
        Some("upload-offset")
    );
    assert_eq!(admin.get(&path).await?["bytes"], 2);
    let huge = admin.put_part(&path, vec![0; 10], &format!("bytes 0-9/{}", u64::MAX)).await;
    assert_eq!(
        huge.err().and_then(|error| error.kind().map(str::to_owned)).as_deref(),
        Some("archive-too-large")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_has_the_control_plane_read_large_bodies() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (admin, plane) = (&network.lab.admin, &network.lab.control);
    let wanted = json!({ "name": "reader", "permissions": ["read-nodes"] });
    let token = admin.post("/tokens", &wanted).await?["secret"].as_str().context("a token")?.to_owned();
    for path in ["release-metadata".to_owned(), format!("release-archives/{}", "0f".repeat(32))] {
        let head = format!(
            "PUT /api/v1/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 16000000\r\n\r\n{{"
        );
        // The rest never comes.
        let answer = tokio::time::timeout(SOON, plane.first_line(head.as_bytes())).await??;
        ensure!(answer.contains(" 403 "), "{path}: {answer}");
    }
    Ok(())
}

fn kind(refused: Result<Value, ApiError>) -> Option<String> {
    refused.err().and_then(|error| error.kind().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_spoils_or_blocks_what_another_uploads() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let control = &network.lab.control;
    control.set_admin("other@example.org", "a password of theirs").await?;
    let (admin, other) =
        (&network.lab.admin, control.log_in("other@example.org", "a password of theirs").await?);
    let archive = noise(3000, 1);
    let path = format!("/release-archives/{}", hex::encode(Sha256::digest(&archive)));
    // What is to be uploaded is no secret: another begins it with other bytes, before and in the middle.
    other.put_part(&path, vec![0; 1000], "bytes 0-999/3000").await?;
    admin.put_part(&path, archive[..1000].to_vec(), "bytes 0-999/3000").await?;
    assert_eq!(
        kind(other.put_part(&path, vec![0; 2000], "bytes 1000-2999/3000").await).as_deref(),
        Some("archive-mismatch")
    );
    let stored = admin.put_part(&path, archive[1000..].to_vec(), "bytes 1000-2999/3000").await?;
    assert_eq!(stored["stored"], true, "{stored}");
    // Another who begins as many as one may keeps nobody else from beginning one.
    let path_of = |number: u8| format!("/release-archives/{}", hex::encode([number; 32]));
    for number in 0..16 {
        other.put_part(&path_of(number), vec![0; 1], "bytes 0-0/9").await?;
    }
    let one_more = other.put_part(&path_of(16), vec![0; 1], "bytes 0-0/9").await;
    assert_eq!(kind(one_more).as_deref(), Some("too-many-uploads"));
    admin.put_part(&path_of(3), vec![0; 1], "bytes 0-0/9").await?;
    // What is given up makes room for another, and is nobody else's.
    other.delete(&path_of(3)).await?;
    assert_eq!(other.get(&path_of(3)).await?["bytes"], 0);
    assert_eq!(admin.get(&path_of(3)).await?["bytes"], 1);
    other.put_part(&path_of(16), vec![0; 1], "bytes 0-0/9").await?;
    // Nor does a token that was stolen keep its owner from uploading, or spoil what the owner has begun.
    let wanted = json!({ "name": "stolen", "permissions": ["read-releases", "write-releases"] });
    let stolen = admin.post("/tokens", &wanted).await?;
    let thief = admin.with_token(stolen["secret"].as_str().context("a token")?);
    for number in 20..36 {
        thief.put_part(&path_of(number), vec![0; 1], "bytes 0-0/9").await?;
    }
    let one_more = thief.put_part(&path_of(36), vec![0; 1], "bytes 0-0/9").await;
    assert_eq!(kind(one_more).as_deref(), Some("too-many-uploads"));
    admin.put_part(&path_of(36), vec![0; 1], "bytes 0-0/9").await?;
    thief.delete(&path_of(36)).await?;
    assert_eq!(admin.get(&path_of(36)).await?["bytes"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_leaves_the_disk_what_the_database_needs() -> anyhow::Result<()> {
    const LEFT_FREE: u64 = 512 << 20;
    let place = scratch()?;
    let folder = place.path().join("control");
    fs::create_dir_all(&folder)?;
    let _disk = SmallDisk::mount(&folder, 760)?;
    let lab = Lab::start(place.path(), LabOptions::default(), |_| {}).await?;
    let free = || {
        let disk = rustix::fs::statvfs(&folder)?;
        anyhow::Ok(disk.f_bavail * disk.f_frsize)
    };
    let room = free()?.checked_sub(LEFT_FREE).context("the control plane alone takes more")?;
    // What cannot fit is refused before a byte of it is written.
    let length = room + (64 << 20);
    let path = format!("/release-archives/{}", "0f".repeat(32));
    let refused = lab.admin.put_part(&path, vec![0; 10], &format!("bytes 0-9/{length}")).await;
    assert_eq!(kind(refused).as_deref(), Some("no-room"));
    assert_eq!(lab.admin.get(&path).await?["bytes"], 0);
    // What fits once is stored, although it would not fit twice.
    let archive = noise(usize::try_from(room * 2 / 3)?, 1);
    let name = hex::encode(Sha256::digest(&archive));
    let path = format!("/release-archives/{name}");
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let uploading = async {
        for (number, part) in archive.chunks(8 << 20).enumerate() {
            let begun = number * (8 << 20);
            let range = format!("bytes {begun}-{}/{}", begun + part.len() - 1, archive.len());
            lab.admin.put_part(&path, part.to_vec(), &range).await?;
        }
        until("the archive to be stored", SOON, || async {
            Ok((lab.admin.get(&path).await?["stored"] == true).then_some(()))
        })
        .await?;
        drop(done);
        anyhow::Ok(())
    };
    let watching = async {
        tokio::pin!(is_done);
        let mut least = u64::MAX;
        // A copy of all of it takes longer than that.
        while tokio::time::timeout(Duration::from_millis(2), &mut is_done).await.is_err() {
            least = least.min(free()?);
        }
        anyhow::Ok(least)
    };
    let (uploaded, least) = tokio::join!(uploading, watching);
    uploaded?;
    // The database goes on writing a little meanwhile.
    ensure!(least? > LEFT_FREE - (32 << 20), "the disk was filled");
    ensure!(fs::read(folder.join("objects").join(&name))? == archive, "it is another");
    ensure!(fs::read_dir(folder.join("uploads"))?.count() == 0, "what was moved is there twice");
    Ok(())
}

/// Uploads an archive part by part, beside others who do the same: what another has brought is not brought again.
async fn upload_beside_others(admin: Client, path: &str, archive: &[u8]) -> anyhow::Result<()> {
    loop {
        let state = admin.get(path).await?;
        if state["stored"] == true {
            return Ok(());
        }
        let begun = usize::try_from(state["bytes"].as_u64().context("how much is there")?)?;
        if begun == archive.len() {
            tokio::task::yield_now().await;
            continue;
        }
        let end = archive.len().min(begun + 50_000);
        let range = format!("bytes {begun}-{}/{}", end - 1, archive.len());
        match admin.put_part(path, archive[begun..end].to_vec(), &range).await {
            Err(ApiError::Refused { kind, .. }) if kind == "upload-offset" => {}
            Err(error) => bail!("{error}"),
            Ok(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_who_upload_one_archive_at_one_moment_make_one_of_it() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let lab = &network.lab;
    // Two people, each at two desks.
    lab.control.set_admin("other@example.org", "a password of theirs").await?;
    let other = lab.control.log_in("other@example.org", "a password of theirs").await?;
    let uploaders = [lab.admin.clone(), other.clone(), lab.admin.clone(), other];
    for seed in 0..3 {
        let archive = noise(600_000, seed);
        let name = hex::encode(Sha256::digest(&archive));
        let path = format!("/release-archives/{name}");
        try_join_all(uploaders.iter().map(|admin| upload_beside_others(admin.clone(), &path, &archive)))
            .await?;
        ensure!(fs::read(lab.control.folder().join("objects").join(&name))? == archive, "it is another");
    }
    let left = fs::read_dir(lab.control.folder().join("uploads"))?.count();
    ensure!(left == 0, "{left} uploads are left behind");
    Ok(())
}

/// Publishes version 1.`number`.0; returns where its archive lies, and from which version an update was measured.
async fn published(network: &Network, number: u8) -> anyhow::Result<(PathBuf, Value)> {
    let mut artefact = noise(300_000, 1);
    artefact[100] = number;
    let manifest = network.manager.release(&format!("os/generic/1.{number}.0"), &artefact)?;
    network.manager.publish(&network.publisher).await?;
    let release = manifest.release.to_string();
    let shown = network.publisher.json(&["published", "show", &release]).await?;
    let archive = hex::encode(manifest.archive.sha256.0);
    Ok((network.lab.control.folder().join("objects").join(archive), shown["update_from"].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_archive_that_is_damaged_or_gone_keeps_nothing_from_being_published() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    published(&network, 0).await?;
    let (archive, from) = published(&network, 1).await?;
    assert_eq!(from, "1.0.0");
    let mut bytes = fs::read(&archive)?;
    bytes[20] ^= 1;
    fs::write(&archive, bytes)?;
    let (archive, from) = published(&network, 2).await?;
    assert_eq!(from, Value::Null, "an update was measured from what is damaged");
    fs::remove_file(&archive)?;
    let (_, from) = published(&network, 3).await?;
    assert_eq!(from, Value::Null, "an update was measured from what is gone");
    Ok(())
}
