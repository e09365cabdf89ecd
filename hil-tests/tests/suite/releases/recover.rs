//! A folder of which no copy is left comes back from what is published; a folder beside what is published.

use super::Network;
use anyhow::ensure;
use noderr_hil::manager::{noise, refusal};
use noderr_hil::{LabOptions, LinkQuality, Proxy, Publisher, SOON};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_copy_of_the_folder_releases_go_on() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    for (patch, seed) in [(0, 1), (1, 2), (2, 3)] {
        manager.release(&format!("os/generic/1.0.{patch}"), &noise(5_000_000, seed))?;
        manager.publish(publisher).await?;
    }
    manager.withdraw("os/generic/1.0.1")?;
    manager.publish(publisher).await?;
    let verified = publisher.ctl(&["release", "verify", &manager.folder_name()]).await?;
    // What was prepared is lost with the folder, and nothing else.
    let folder = manager.folder.root().to_owned();
    fs::remove_dir_all(&folder)?;
    publisher.ctl(&["release", "recover", &manager.folder_name()]).await?;
    assert_eq!(publisher.ctl(&["release", "verify", &manager.folder_name()]).await?, verified);
    // What came halfway is completed, and what is damaged comes again.
    let archives = fs::read_dir(manager.folder.objects())?.collect::<Result<Vec<_>, _>>()?;
    ensure!(archives.len() == 2, "{archives:?}");
    for archive in &archives {
        let bytes = fs::read(archive.path())?;
        let half =
            manager.folder.objects().join(format!(".{}.unfinished", archive.file_name().to_string_lossy()));
        fs::write(half, &bytes[..bytes.len() / 2])?;
        fs::remove_file(archive.path())?;
    }
    publisher.ctl(&["release", "recover", &manager.folder_name()]).await?;
    assert_eq!(publisher.ctl(&["release", "verify", &manager.folder_name()]).await?, verified);
    // The same keys go on, and a version that was used up stays so.
    assert!(manager.release("os/generic/1.0.0", &noise(10_000, 4)).is_err());
    manager.release("os/generic/1.1.0", &noise(10_000, 5))?;
    let said = manager.publish(publisher).await?;
    ensure!(said.contains("new: os/generic/1.1.0"), "{said}");
    // A withdrawn version is forgotten with the folder; the control plane knows it still.
    manager.release("os/generic/1.0.1", &noise(10_000, 6))?;
    let refused = refusal(manager.publish(publisher).await)?;
    ensure!(refused.contains("released before"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_pipes_that_somebody_has_laid_into_the_folder_lead_nowhere() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let manifest = manager.release("os/generic/1.0.0", &noise(100_000, 1))?;
    manager.publish(publisher).await?;
    let (folder, name) = (manager.folder_name(), hex::encode(manifest.archive.sha256.0));
    let archive = manager.folder.objects().join(&name);
    fs::remove_file(&archive)?;
    mkfifoat(CWD, &archive, Mode::RUSR | Mode::WUSR)?;
    let unpacked = folder.clone() + "-unpacked";
    for words in [vec!["verify", &folder], vec!["unpack", &folder, "os/generic/1.0.0", &unpacked]] {
        let words: Vec<_> = std::iter::once("release").chain(words).collect();
        let refused = refusal(timeout(SOON, publisher.ctl(&words)).await?)?;
        ensure!(refused.contains("no file"), "{words:?}: {refused}");
    }
    fs::remove_file(&archive)?;
    let victim = manager.folder.root().with_extension("victim");
    fs::write(&victim, b"as it was")?;
    let unfinished = manager.folder.objects().join(format!(".{name}.unfinished"));
    symlink(&victim, &unfinished)?;
    let refused = refusal(publisher.ctl(&["release", "recover", &folder]).await)?;
    ensure!(refused.contains("link"), "{refused}");
    ensure!(fs::read(&victim)? == b"as it was", "an archive was written through a link");
    fs::remove_file(&unfinished)?;
    publisher.ctl(&["release", "recover", &folder]).await?;
    publisher.ctl(&["release", "unpack", &folder, "os/generic/1.0.0", &unpacked]).await?;
    ensure!(fs::read(&unpacked)? == noise(100_000, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_leaves_a_copy_as_it_is() -> anyhow::Result<()> {
    let (ours, theirs) =
        (Network::start(LabOptions::default()).await?, Network::start(LabOptions::default()).await?);
    theirs.manager.release("os/generic/1.0.0", &noise(10_000, 1))?;
    theirs.manager.publish(&theirs.publisher).await?;
    let folder = ours.manager.folder_name();
    let refused = refusal(theirs.publisher.ctl(&["release", "recover", &folder]).await)?;
    ensure!(refused.contains("it is of another network"), "{refused}");
    ours.publisher.ctl(&["release", "verify", &folder]).await?;
    ours.manager.release("os/generic/1.0.0", &noise(10_000, 2))?;
    ours.manager.publish(&ours.publisher).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_an_archive_goes_up_in_smaller_parts() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let line = Proxy::start(vec![network.lab.control.api()]).await?;
    let url = format!("https://localhost:{}", line.address().port());
    let publisher = Publisher::new(url, network.lab.control.root_file(), &network.lab.admin).await?;
    network.manager.release("os/generic/1.0.0", &noise(2_500_000, 1))?;
    // All of it takes longer than a request may.
    line.set_quality(LinkQuality::Narrow { kbit: 512, late: Duration::ZERO });
    let said = network.manager.publish(&publisher).await?;
    ensure!(said.contains("new: os/generic/1.0.0"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_held_beside_what_is_published() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    manager.release("os/generic/1.0.0", &noise(10_000, 1))?;
    manager.publish(publisher).await?;
    let folder = manager.folder_name();
    let is = async || -> anyhow::Result<Vec<String>> {
        let rows = publisher.json(&["release", "compare", &folder]).await?;
        let mut is: Vec<_> = rows
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| row["folder_is"].as_str())
            .map(str::to_owned)
            .collect();
        is.sort();
        is.dedup();
        Ok(is)
    };
    assert_eq!(is().await?, ["the same"]);
    let copy = folder.clone() + "-copy";
    let copied = std::process::Command::new("cp").args(["-r", &folder, &copy]).status()?;
    ensure!(copied.success());
    manager.release("os/generic/1.0.1", &noise(10_000, 2))?;
    assert_eq!(is().await?, ["newer", "the same"]);
    manager.publish(publisher).await?;
    let refused = refusal(publisher.ctl(&["release", "compare", &copy]).await)?;
    ensure!(refused.contains("the folder is older"), "{refused}");
    // The copy is brought up to date, and is no copy of an older state any more.
    publisher.ctl(&["release", "recover", &copy]).await?;
    let rows: Value = publisher.json(&["release", "compare", &copy]).await?;
    ensure!(
        rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["folder_is"] == "the same")),
        "{rows}"
    );
    Ok(())
}
