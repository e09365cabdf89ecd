//! Attestation of connected boxes: registers that change, boxes that do not answer.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{ControlOptions, LabOptions, LinkQuality};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn registers_that_change_are_noticed_shown_and_audited() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("measured", &LIVELY).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "a first verdict", SOON, |shown| shown["attestation"] == "trusted").await?;

    let done = tokio::process::Command::new("tpm2_pcrextend")
        .arg("4:sha256=".to_owned() + &"ab".repeat(32))
        .env("TPM2TOOLS_TCTI", rig.tpm()?.tcti())
        .output()
        .await?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "the change to be noticed", SOON, |shown| shown["attestation"] == "changed")
        .await?;
    let entries = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
    let entry = entries.iter().find(|entry| entry["action"] == "node.registers-changed");
    assert!(
        entry.is_some_and(|entry| entry["detail"]["detail"]
            .as_str()
            .is_some_and(|text| text.ends_with(": 4")))
    );

    let newest = lab.admin.list(&format!("/nodes/{node}/attestations"), 1).await?;
    let accepted = json!({ "challenge": newest[0]["challenge"] });
    lab.admin.post(&format!("/nodes/{node}/baseline"), &accepted).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "trust in the new baseline", SOON, |shown| shown["attestation"] == "trusted")
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_in_time_is_no_longer_trusted() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("enrolment", "attest_answer_s = 4");
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let (node, rig) = lab.online_box("silent", &LIVELY).await?;
    lab.node_where(&node, "a first verdict", SOON, |shown| shown["attestation"] == "trusted").await?;

    // The session stands, but nothing passes.
    rig.network(LinkQuality::Silent);
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "its silence to be noticed", SOON, |shown| shown["attestation"] == "silent")
        .await?;
    let entries = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
    assert!(entries.iter().any(|entry| entry["action"] == "node.attestation-silent"));

    rig.network(LinkQuality::Up);
    lab.node_where(&node, "trust to return", SOON, |shown| shown["attestation"] == "trusted").await?;
    Ok(())
}
