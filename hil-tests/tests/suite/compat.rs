//! A node that was updated goes on from what the release before left behind, and a node that fell back from what a later
//! build left behind.

use crate::{SOON, lab};
use anyhow::{Context as _, ensure};
use noderr_hil::{BoxOptions, Lab, LabOptions, LinkQuality, ProcessRig, account};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every release that has left something behind.
fn releases() -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let mut releases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("spool.tar.gz").exists() {
            releases.push(path);
        }
    }
    releases.sort();
    Ok(releases)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// An enrolled box without power, whose certificate, keys and place in the network are its own.
async fn sleeping_box(lab: &Lab, name: &str) -> anyhow::Result<(String, ProcessRig)> {
    let (node, mut rig) = lab.online_box(name, &BoxOptions::default()).await?;
    rig.shut_down().await?;
    Ok((node, rig))
}

/// Puts the documents of `folder` into a box. Of the enrolment, the form stays and the box's own values go in.
fn leave_behind(folder: &Path, rig: &ProcessRig) -> anyhow::Result<()> {
    let data = rig.data();
    let (mut enrolment, own) = (read(&folder.join("enrolment.json"))?, read(&data.join("enrolment.json"))?);
    let kept = enrolment["document"].as_object_mut().context("an enrolment is a document")?;
    for (field, value) in own["document"].as_object().context("an enrolment is a document")? {
        // A field that came later is not there: this build must have a default for it.
        if let Some(then) = kept.get_mut(field) {
            *then = value.clone();
        }
    }
    for stale in ["boot.before.json", "desired.before.json", "enrolment.before.json"] {
        _ = fs::remove_file(data.join(stale));
    }
    for document in fs::read_dir(folder)? {
        let path = document?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            fs::copy(&path, data.join(path.file_name().context("a file has a name")?))?;
        }
    }
    fs::write(data.join("enrolment.json"), enrolment.to_string())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_from_what_the_releases_before_left_behind() -> anyhow::Result<()> {
    let releases = releases()?;
    ensure!(!releases.is_empty(), "no release has left anything behind");
    let (_folder, lab) = lab(LabOptions::default()).await?;
    for release in releases {
        let name = release.file_name().context("a folder has a name")?.to_string_lossy().replace('.', "-");
        let (node, mut rig) = sleeping_box(&lab, &name).await?;
        // The control plane of that time, as far as this box can tell: nothing of the spool has ever arrived.
        for table in ["lanes", "gaps", "telemetry", "alerts"] {
            let owner = sqlx::PgPool::connect(&lab.control.owner_url()?).await?;
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE node_id = decode($1, 'hex')"
            )))
            .bind(&node)
            .execute(&owner)
            .await?;
        }
        fs::remove_dir_all(rig.data().join("spool"))?;
        _ = fs::remove_file(rig.data().join("spool.numbers"));
        leave_behind(&release, &rig)?;
        let unpacked = Command::new("tar")
            .args(["--extract", "--file"])
            .arg(release.join("spool.tar.gz"))
            .arg("--directory")
            .arg(rig.data())
            .status()?;
        ensure!(unpacked.success(), "the spool cannot be unpacked");
        let (boot, desired) = (read(&release.join("boot.json"))?, read(&release.join("desired.json"))?);

        // The clock says a year ago: what was kept decides, and not the seconds of today.
        rig.clock_offset(Some("-1y"));
        rig.network(LinkQuality::Down);
        rig.power_on()?;
        let status =
            rig.status_where("the desired state of then", SOON, |status| status["paused"] == true).await?;
        assert_eq!(status["desired_version"], desired["document"]["version"]);
        assert!(status["spool_records"].as_u64() >= Some(30), "{status}");
        let now = read(&rig.data().join("boot.json"))?;
        assert!(
            now["document"]["epoch"].as_u64() > boot["document"]["epoch"].as_u64(),
            "an epoch is given out twice: {now}"
        );
        let ahead = status["clock_offset_ms"].as_i64().unwrap_or_default();
        assert!(ahead < -300 * 86_400_000, "the clock begins before what was vouched for then: {status}");
        rig.network(LinkQuality::Up);
        rig.online(SOON).await?;
        let account = account::drained(&lab.database, &node, &rig).await?;
        assert!(account.stored >= 30, "{account:?}");
        // What was committed then is all that this control plane has never seen.
        let first: i64 =
            sqlx::query_scalar("SELECT min(seq) FROM telemetry WHERE node_id = decode($1, 'hex')")
                .bind(&node)
                .fetch_one(&lab.database)
                .await?;
        assert_eq!(account.missing, first - 1, "{account:?}");
        rig.shut_down().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_back_goes_on_from_what_a_later_build_left_behind() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = sleeping_box(&lab, "fallen-back").await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/later");
    leave_behind(&folder, &rig)?;
    rig.network(LinkQuality::Down);
    rig.power_on()?;
    // The newest document cannot be read; the section that was in force beside it can.
    rig.status_where("what was in force", SOON, |status| status["sample_every_s"] == 3).await?;
    rig.network(LinkQuality::Up);
    rig.online(SOON).await?;
    let path = format!("/nodes/{node}/desired");
    lab.admin.patch(&path, &json!({ "sample_every_s": 2 })).await?;
    lab.node_where(&node, "the newest document", SOON, |shown| shown["outcome"] == "applied").await?;
    let epoch = read(&rig.data().join("boot.json"))?["document"]["epoch"].as_u64();
    assert!(epoch > Some(1_900_000_000), "the epoch of the copy before counts: {epoch:?}");
    Ok(())
}
