//! Which archives are kept, and which go.

use super::Network;
use crate::storage::{owner, run_job};
use anyhow::ensure;
use noderr_hil::manager::{noise, refusal};
use noderr_hil::{ControlOptions, LabOptions};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::time::{Duration, SystemTime};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_goes_and_what_somebody_does_stays() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("releases", "keep = 2");
    let network = Network::start(LabOptions { control, ..LabOptions::default() }).await?;
    let (manager, publisher, lab) = (&network.manager, &network.publisher, &network.lab);
    let mut archives = Vec::new();
    for number in 0..5_u64 {
        let manifest = manager.release(&format!("os/generic/1.{number}.0"), &noise(30_000, number))?;
        archives.push(hex::encode(manifest.archive.sha256.0));
        manager.publish(publisher).await?;
    }
    publisher.ctl(&["channels", "activate", "os/generic/1.1.0"]).await?;
    // Uploaded twice and never published: one a moment ago, one two days ago.
    let mut strays = Vec::new();
    for seed in [7, 8] {
        let bytes = noise(10_000, seed);
        let name = hex::encode(Sha256::digest(&bytes));
        lab.admin.put_part(&format!("/release-archives/{name}"), bytes, "bytes 0-9999/10000").await?;
        strays.push(name);
    }
    let objects = lab.control.folder().join("objects");
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    File::options().write(true).open(objects.join(&strays[1]))?.set_modified(old)?;
    let mut owner = owner(lab).await?;
    // What was published within the hour stays in any case.
    run_job(&mut owner, "forget-archives").await?;
    let there = |name: &String| objects.join(name).exists();
    ensure!(
        archives.iter().all(there) && there(&strays[0]) && !there(&strays[1]),
        "too much or too little is gone"
    );
    sqlx::query("UPDATE releases SET published_at = published_at - interval '2 hours'")
        .execute(&mut owner)
        .await?;
    run_job(&mut owner, "forget-archives").await?;
    let left: Vec<_> = archives.iter().map(there).collect();
    ensure!(left == [false, true, false, true, true], "{left:?}");
    let refused = refusal(publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await)?;
    ensure!(refused.contains("archive-removed"), "{refused}");
    // It comes back when the release manager sends it again.
    let folder = manager.folder.root().display().to_string();
    publisher.ctl(&["release", "publish", &folder, "--archives"]).await?;
    ensure!(archives.iter().all(there));
    Ok(())
}
