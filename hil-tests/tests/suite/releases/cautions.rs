//! What a release manager is told before boxes refuse something, or have nothing.

use super::Network;
use anyhow::{Context as _, ensure};
use noderr_hil::LabOptions;
use noderr_hil::manager::noise;
use noderr_protocol::release::Requirement;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_activates_what_boxes_would_refuse_is_told_so() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    manager.release("os/generic/1.0.0", &noise(10_000, 1))?;
    manager.release_with("os/generic/1.1.0", &noise(10_000, 2), |manifest| manifest.security_epoch = 1)?;
    let requires = |at_least: &str| {
        let at_least = at_least.parse();
        anyhow::Ok(vec![Requirement { series: "os/generic".parse()?, at_least: at_least? }])
    };
    let (met, unmet) = (requires("1.0.0")?, requires("1.2.0")?);
    manager.release_with("models/btc/1.0.0", &noise(10_000, 3), |manifest| manifest.requires = met)?;
    manager.release_with("models/btc/1.1.0", &noise(10_000, 4), |manifest| manifest.requires = unmet)?;
    manager.publish(publisher).await?;
    let activate = async |release: &str| -> anyhow::Result<Vec<String>> {
        let done = publisher.json(&["channels", "activate", release]).await?;
        let cautions = done["cautions"].as_array().context("cautions")?;
        Ok(cautions.iter().filter_map(|caution| caution.as_str()).map(str::to_owned).collect())
    };
    assert_eq!(activate("os/generic/1.1.0").await?, Vec::<String>::new());
    assert_eq!(activate("models/btc/1.0.0").await?, Vec::<String>::new());
    let cautions = activate("models/btc/1.1.0").await?;
    ensure!(
        cautions.len() == 1 && cautions[0].contains("os/generic in version 1.2.0 or later"),
        "{cautions:?}"
    );
    // A channel that is more some nodes' own keeps its version for these.
    let activate_for = async |release: &str, channel: &[&str]| {
        publisher.json(&[&["channels", "activate", release], channel].concat()).await
    };
    let hardware = ["--hardware", "x86_64"];
    assert_eq!(activate_for("models/btc/1.0.0", &hardware).await?["cautions"], json!([]));
    let told = activate_for("models/btc/1.1.0", &["--tier", "oracle"]).await?["cautions"].to_string();
    ensure!(!told.contains("more their own"), "a tier counts before hardware: {told}");
    let told = activate("models/btc/1.1.0").await?;
    let of = |channel: &str| {
        format!(
            "nodes of the channel {channel} do not get it: that channel is more their own, and has version 1.0.0"
        )
    };
    ensure!(told.contains(&of("all x86_64")) && told.len() == 2, "{told:?}");
    let told = activate("models/btc/1.0.0").await?;
    ensure!(told.len() == 1 && told[0].contains("channel oracle any"), "{told:?}");
    // Back to before the security epoch: no box that has held 1.1.0 goes along.
    let cautions = activate("os/generic/1.0.0").await?;
    ensure!(cautions.len() == 1 && cautions[0].contains("of version 1.1.0"), "{cautions:?}");
    // And what is withdrawn leaves a channel with nothing.
    manager.withdraw("os/generic/1.0.0")?;
    let said = manager.publish(publisher).await?;
    ensure!(said.contains("(their nodes go by the next channel that fits): os/generic all any"), "{said}");
    Ok(())
}
