//! The firmware's event log: it names the component behind a changed register.

use crate::attestation::{attest, measure};
use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_attestation::write_event_log;
use noderr_hil::{Lab, LabOptions, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The explanation of the newest attestation, once it says of register 4 what is wanted.
async fn explained(lab: &Lab, node: &str, wanted: fn(&Value) -> bool) -> anyhow::Result<Value> {
    let newest = lab.admin.list(&format!("/nodes/{node}/attestations"), 1).await?;
    let challenge = newest[0]["challenge"].as_str().context("a challenge")?;
    let path = format!("/nodes/{node}/attestations/{challenge}/explanation");
    until("an explanation", SOON, || async {
        let shown = lab.admin.get(&path).await?;
        Ok(wanted(&shown[0]).then_some(shown))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_names_the_component_that_changed_and_is_believed_as_far_as_the_tpm_agrees()
-> anyhow::Result<()> {
    const ACTION: u32 = 0x8000_0007;
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("explained", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;

    // Another loader, which the firmware writes down. A real log is longer than one message.
    let padding = vec![0xff; 70_000];
    let other = Sha256::digest(b"other loader\0").into();
    let loader = (4, ACTION, other, &b"other loader\0"[..]);
    std::fs::write(rig.event_log(), write_event_log(&[loader, (12, ACTION, [7; 32], &padding)]))?;
    measure(&mut rig, 4, other).await?;
    attest(&lab, &node, "changed").await?;
    let shown = explained(&lab, &node, |change| change["explained"] == true).await?;
    assert_eq!((shown.as_array().map(Vec::len), &shown[0]["register"]), (Some(1), &json!(4)));
    assert_eq!(shown[0]["gone"], json!([]));
    let named = json!({ "kind": "EFI_ACTION", "what": "other loader", "vouched": true,
                        "digest": hex::encode(other) });
    assert_eq!(shown[0]["new"], json!([named]));

    // It is accepted; then it is replaced by one that the log tells a lie about.
    let newest = lab.admin.list(&format!("/nodes/{node}/attestations"), 1).await?;
    lab.admin
        .post(&format!("/nodes/{node}/baseline"), &json!({ "challenge": newest[0]["challenge"] }))
        .await?;
    attest(&lab, &node, "trusted").await?;
    measure(&mut rig, 4, [2; 32]).await?;
    attest(&lab, &node, "changed").await?;
    let disagrees = |change: &Value| {
        change["why_not"]
            .as_str()
            .is_some_and(|why| why.contains("leads to the value that its TPM has quoted"))
    };
    let shown = explained(&lab, &node, disagrees).await?;
    assert_eq!((&shown[0]["explained"], &shown[0]["new"]), (&json!(false), &json!([])));

    // The truth of the digest, at the next question, held against the log of what was accepted. The name beside it is a claim.
    let truth = [loader, (4, ACTION, [2; 32], &b"third loader\0"[..])];
    std::fs::write(rig.event_log(), write_event_log(&truth))?;
    attest(&lab, &node, "changed").await?;
    let shown = explained(&lab, &node, |change| change["explained"] == true).await?;
    let named = json!({ "kind": "EFI_ACTION", "what": "third loader", "vouched": false,
                        "digest": "02".repeat(32) });
    assert_eq!((&shown[0]["new"], &shown[0]["gone"]), (&json!([named]), &json!([])));
    Ok(())
}
