//! The first path through everything: approved operator, TPM enrolment, mTLS, telemetry in the database.

use crate::{LIVELY, lab};
use noderr_hil::{LabOptions, account};

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
