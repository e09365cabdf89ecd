//! Attestation of connected boxes: registers that change, boxes that do not answer, and what follows.

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::{BoxOptions, ControlOptions, Lab, LabOptions, LinkQuality, ProcessRig, children, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgPool;

/// Measures something into a register of the box's TPM, as another firmware would.
async fn extend(rig: &mut ProcessRig, register: u8) -> anyhow::Result<()> {
    measure(rig, register, [0xab; 32]).await
}

pub(crate) async fn measure(rig: &mut ProcessRig, register: u8, digest: [u8; 32]) -> anyhow::Result<()> {
    let done = tokio::process::Command::new("tpm2_pcrextend")
        .arg(format!("{register}:sha256={}", hex::encode(digest)))
        .env("TPM2TOOLS_TCTI", rig.tpm()?.tcti())
        .output()
        .await?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Asks for an attestation, waits for its verdict, and returns the node as it is shown then.
pub(crate) async fn attest(lab: &Lab, node: &str, verdict: &str) -> anyhow::Result<Value> {
    let path = format!("/nodes/{node}/attestations");
    let found = loop {
        let asked = lab.admin.post(&path, &json!({})).await?;
        let found = until("the verdict", SOON, || async {
            let newest = lab.admin.list(&path, 20).await?;
            let asked = newest.iter().find(|one| one["challenge"] == asked["challenge"]);
            Ok(asked.filter(|one| !one["verdict"].is_null()).cloned())
        })
        .await?;
        // A question that the control plane had put before is no answer to this one.
        if found["requested_by"] != "schedule" {
            break found;
        }
    };
    anyhow::ensure!(found["verdict"] == verdict, "{verdict} was to come of {found}");
    lab.node_where(node, verdict, SOON, |shown| shown["attestation"] == verdict).await
}

async fn actions(lab: &Lab, node: &str) -> anyhow::Result<Vec<String>> {
    let entries = lab.admin.list(&format!("/audit?subject={node}"), 1000).await?;
    Ok(entries.iter().filter_map(|entry| entry["action"].as_str().map(str::to_owned)).collect())
}

fn teeth() -> LabOptions {
    let control = ControlOptions::default()
        .with("enrolment", "on_changed = \"quarantine\"\nattest_answer_s = 4\ntrusted_within_s = 6");
    LabOptions { control, ..LabOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_that_change_are_noticed_shown_and_audited() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("measured", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;
    extend(&mut rig, 4).await?;
    attest(&lab, &node, "changed").await?;
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
    attest(&lab, &node, "trusted").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_was_started_anew_is_asked_at_once_and_one_change_is_on_record_once() -> anyhow::Result<()>
{
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("started", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;
    rig.shut_down().await?;
    extend(&mut rig, 4).await?;
    rig.power_on()?;
    // Nobody asks for it, and the next question would be due tomorrow.
    lab.node_where(&node, "the start to be looked at", SOON, |shown| shown["attestation"] == "changed")
        .await?;
    attest(&lab, &node, "changed").await?;
    let changes = actions(&lab, &node).await?.into_iter().filter(|action| action == "node.registers-changed");
    assert_eq!(changes.count(), 1);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_box_is_kept_out_of_work_and_told_why_until_a_person_accepts_the_change()
-> anyhow::Result<()> {
    let (_folder, lab) = lab(teeth()).await?;
    let (node, mut rig) = lab.online_box("changed", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;
    extend(&mut rig, 4).await?;
    let shown = attest(&lab, &node, "changed").await?;
    assert_eq!((&shown["quarantine"], &shown["online"]), (&json!("registers-changed"), &json!(true)));
    let told = |status: &Value| {
        status["paused"] == true
            && status["online"] == true
            && status["quarantine"].as_str().is_some_and(|why| why.contains("measured"))
    };
    rig.status_where("the box to be told", SOON, told).await?;
    assert!(rig.status_text().await?.contains("no work for this node"), "people are not told");

    // Neither an excuse nor silence is a way out, nor is an admin who wants work done.
    rig.tpm()?.hang()?;
    attest(&lab, &node, "unavailable").await?;
    rig.tpm()?.unhang()?;
    lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": false })).await?;
    assert_eq!(lab.node(&node).await?["quarantine"], "registers-changed");

    // Nor is another enrolment of the same box: the token is good for that, the baseline stays.
    rig.shut_down().await?;
    for file in ["enrolment.json", "enrolment.before.json"] {
        if let Err(error) = std::fs::remove_file(rig.data().join(file)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
    rig.power_on()?;
    rig.online(SOON).await?;
    let shown = lab.node(&node).await?;
    assert_eq!(
        (&shown["quarantine"], &shown["attestation"]),
        (&json!("registers-changed"), &json!("changed"))
    );
    rig.status_where("the box to be told again", SOON, told).await?;

    // A person accepts what was shown.
    let shown = lab.admin.list(&format!("/nodes/{node}/attestations"), 20).await?;
    let changed = shown.iter().find(|one| one["verdict"] == "changed").cloned().unwrap_or_default();
    lab.admin.post(&format!("/nodes/{node}/baseline"), &json!({ "challenge": changed["challenge"] })).await?;
    let shown = attest(&lab, &node, "trusted").await?;
    assert_eq!(shown["quarantine"], Value::Null);
    rig.status_where("the box to work", SOON, |status| {
        status["paused"] == false && status["quarantine"].is_null()
    })
    .await?;
    let actions = actions(&lab, &node).await?;
    for action in
        ["node.registers-changed", "node.quarantine", "node.attestation-unavailable", "node.release"]
    {
        assert!(actions.iter().any(|known| known == action), "{action}: {actions:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_only_makes_excuses_ends_in_quarantine() -> anyhow::Result<()> {
    let (_folder, lab) = lab(teeth()).await?;
    let (node, mut rig) = lab.online_box("excuses", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;
    rig.tpm()?.hang()?;
    attest(&lab, &node, "unavailable").await?;
    lab.node_where(&node, "the excuses to count", SOON * 2, |shown| shown["quarantine"] == "not-attested")
        .await?;
    let said = lab.admin.list(&format!("/nodes/{node}/attestations"), 100).await?;
    let excuses = said.iter().filter(|one| one["verdict"] == "unavailable").count();
    assert!((2..=6).contains(&excuses), "asked again, and more and more seldom: {excuses}");
    rig.tpm()?.unhang()?;
    lab.node_where(&node, "trust to return by itself", SOON * 2, |shown| {
        shown["quarantine"].is_null() && shown["attestation"] == "trusted"
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_expected_of_the_fleet_lets_every_box_out_at_once() -> anyhow::Result<()> {
    let (_folder, lab) = lab(teeth()).await?;
    let mut boxes = Vec::new();
    for label in ["one", "two"] {
        let (node, mut rig) = lab.online_box(label, &LIVELY).await?;
        extend(&mut rig, 4).await?;
        let shown = attest(&lab, &node, "changed").await?;
        assert_eq!(shown["quarantine"], "registers-changed");
        boxes.push((node, rig));
    }
    let newest = lab.admin.list(&format!("/nodes/{}/attestations", boxes[0].0), 1).await?;
    let value = newest[0]["pcrs"]["4"].clone();
    let expected = json!({ "register": 4, "value": value, "note": "the update of this test" });
    lab.admin.post("/expected-registers", &expected).await?;
    for (node, _) in &boxes {
        let shown = attest(&lab, node, "trusted").await?;
        assert_eq!(shown["quarantine"], Value::Null);
    }
    let path = format!("/expected-registers/4/{}", value.as_str().unwrap_or_default());
    lab.admin.delete(&path).await?;
    attest(&lab, &boxes[0].0, "changed").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_policy_counts_for_boxes_that_are_in() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("enrolment", "allow_software = true");
    let (_folder, mut lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let (node, mut rig) = lab.online_box("soft", &BoxOptions { software: true, ..LIVELY }).await?;
    let (other, _other_rig) = lab.online_box("hard", &LIVELY).await?;
    assert_eq!(lab.node(&node).await?["quarantine"], Value::Null);
    lab.control.stop().await?;
    lab.control.configure("allow_software = true", "allow_software = false")?;
    lab.control.start().await?;
    lab.node_where(&node, "the policy to count", SOON * 2, |shown| {
        shown["quarantine"] == "software-not-allowed"
    })
    .await?;
    rig.online(SOON).await?;
    rig.status_where("the box to be told", SOON, |status| status["quarantine"].is_string()).await?;
    assert_eq!(lab.node(&other).await?["quarantine"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barred_tpm_enrols_under_no_node_and_the_next_box_is_not_taken_for_the_one_before()
-> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("stolen", &LIVELY).await?;
    attest(&lab, &node, "trusted").await?;
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "stolen", "bar_tpm": true })).await?;
    rig.shut_down().await?;

    // The thief has a token for another node.
    let (second, token) = lab.add_node("second").await?;
    std::fs::remove_dir_all(rig.data())?;
    let config = std::fs::read_to_string(rig.config())?;
    let line = config.lines().find(|line| line.starts_with("install_token")).unwrap_or_default();
    std::fs::write(rig.config(), config.replace(line, &format!("install_token = \"{token}\"")))?;
    rig.power_on()?;
    rig.status_where("the box to be kept out", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.contains("barred"))
    })
    .await?;
    // Each attempt is on record, and uses up one of those that a token has in an hour: nobody fills the log.
    let refused =
        actions(&lab, &second).await?.iter().filter(|action| *action == "node.enrol.refused").count();
    let begun = "SELECT count(*) FROM enrolments e JOIN install_tokens t ON t.id = e.token_id WHERE encode(t.node_id, 'hex') = $1";
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    let begun: i64 = sqlx::query_scalar(begun).bind(&second).fetch_one(&owner).await?;
    assert!(refused > 0 && begun >= refused as i64, "{begun} attempts, {refused} on record");
    rig.shut_down().await?;
    let barred = lab.admin.list("/tpms", 10).await?;
    assert_eq!((barred.len(), &barred[0]["reason"]), (1, &json!("stolen")));
    lab.admin.delete(&format!("/tpms/{}", barred[0]["tpm"].as_str().unwrap_or_default())).await?;
    rig.power_on()?;
    rig.online(SOON).await?;
    let entries = lab.admin.list(&format!("/audit?subject={second}"), 100).await?;
    let enrolled = entries.iter().find(|entry| entry["action"] == "node.enrol").cloned().unwrap_or_default();
    assert_eq!(enrolled["detail"]["formerly"], json!([node]), "whom the TPM stood behind is on record");

    // What was found of this box says nothing of the next.
    attest(&lab, &second, "trusted").await?;
    let open = lab.admin.post(&format!("/nodes/{second}/install-tokens"), &json!({})).await?;
    lab.admin.post(&format!("/nodes/{second}/unbind"), &json!({})).await?;
    let shown = lab.node(&second).await?;
    assert_eq!((&shown["attestation"], &shown["enrolled_at"]), (&Value::Null, &Value::Null));
    let tokens = lab.admin.get(&format!("/nodes/{second}/install-tokens")).await?;
    let of =
        |id: &Value| tokens.as_array().and_then(|all| all.iter().find(|token| token["id"] == *id)).cloned();
    assert!(of(&open["id"]).is_some_and(|token| token["withdrawn_at"].is_string()), "{tokens}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_token_lets_nobody_in() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.add_box("late", &LIVELY).await?;
    let tokens = lab.admin.get(&format!("/nodes/{node}/install-tokens")).await?;
    let id = tokens[0]["id"].as_str().unwrap_or_default().to_owned();
    lab.admin.post(&format!("/nodes/{node}/install-tokens/{id}/withdraw"), &json!({})).await?;
    rig.power_on()?;
    rig.status_where("the box to be kept out", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.starts_with("not let in"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tpm_does_not_choose_which_of_its_keys_it_shows() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("enrolment", "ek_algorithm = \"ecc\"");
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let (_, mut rig) = lab.add_box("rsa", &LIVELY).await?;
    rig.power_on()?;
    rig.status_where("the box to be kept out", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.contains("ek_algorithm"))
    })
    .await?;
    Ok(())
}

/// The TPM's library is in memory while there is work for it. What hangs or dies there is ended, and costs one answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_speaks_to_the_tpm_lives_while_there_is_work_and_may_die_at_any_moment()
-> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("helper", &LIVELY).await?;
    let pid = rig.pid().context("the node is off")?;
    let helpers = || async { children(pid) };
    let gone = || async { Ok(helpers().await?.is_empty().then_some(())) };
    until("the process to end", SOON, gone).await?;

    rig.tpm()?.hang()?;
    let asked = lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    let helper = until("the process to hang", SOON, || async { Ok(helpers().await?.pop()) }).await?;
    let helper = i32::try_from(helper).ok().and_then(Pid::from_raw).context("no process")?;
    kill_process(helper, Signal::KILL)?;
    let said = until("an answer", SOON, || async {
        let newest = lab.admin.list(&format!("/nodes/{node}/attestations"), 20).await?;
        let of = newest.iter().find(|one| one["challenge"] == asked["challenge"]);
        Ok(of.filter(|one| !one["verdict"].is_null()).cloned())
    })
    .await?;
    assert_eq!(said["verdict"], "unavailable", "{said}");

    // Whoever hangs is ended with the deadline, so that hanging processes do not pile up.
    attest(&lab, &node, "unavailable").await?;
    attest(&lab, &node, "unavailable").await?;
    assert!(helpers().await?.len() <= 1);
    rig.tpm()?.unhang()?;
    attest(&lab, &node, "trusted").await?;
    until("the process to end", SOON, gone).await
}
