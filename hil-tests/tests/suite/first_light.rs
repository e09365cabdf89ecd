//! The first path through everything: approved operator, TPM enrolment, mTLS, telemetry in the database.

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::{LabOptions, account};
use tokio::net::UnixDatagram;

#[tokio::test(flavor = "multi_thread")]
async fn a_box_enrols_with_its_tpm_and_its_telemetry_arrives() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, _rig) = lab.online_box("first", &LIVELY).await?;
    account::settled(&lab.database, &node, 10).await?;
    let shown = lab.node(&node).await?;
    assert_eq!(shown["identity"], "tpm");
    assert_eq!(shown["tpm_certified"], true);
    assert_eq!(shown["online"], true);
    let samples = lab.admin.get(&format!("/nodes/{node}/telemetry?limit=3")).await?;
    assert_eq!(samples["items"].as_array().map(Vec::len), Some(3));
    assert!(samples["items"][0]["memory_total_kib"].as_i64() > Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_init_system_hears_that_the_box_is_ready_gets_things_done_and_stops() -> anyhow::Result<()> {
    let (folder, lab) = lab(LabOptions::default()).await?;
    let path = folder.path().join("notify");
    let init_system = UnixDatagram::bind(&path)?;
    let (node, mut rig) = lab.add_box("watched", &LIVELY).await?;
    rig.notify_socket(&path);
    rig.power_on()?;
    let hears = async |what: &str| -> anyhow::Result<()> {
        let mut said = [0; 256];
        loop {
            let len =
                tokio::time::timeout(SOON, init_system.recv(&mut said)).await.context(what.to_owned())??;
            if said[..len].starts_with(what.as_bytes()) {
                return Ok(());
            }
        }
    };
    hears("READY=1").await?;
    hears("WATCHDOG=1").await?;
    rig.online(SOON).await?;
    let text = rig.status_text().await?;
    for word in [node.as_str(), "online", "tpm"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    rig.shut_down().await?;
    hears("STOPPING=1").await
}
