//! Papers: install tokens, bindings, revocation, expiry, renewal, software identities.

use crate::raw::refused_as;
use crate::{LIVELY, SOON, lab};
use noderr_hil::{BoxOptions, ControlOptions, LabOptions, ProcessRig, account, until};
use noderr_identity::{NodeKeys, SoftwareKey, certificate_request};
use noderr_protocol::Base64;
use serde_json::json;
use std::time::{Duration, Instant};

fn short_lived(seconds: u32) -> LabOptions {
    let control = ControlOptions::default().with("authority", format!("certificate_seconds = {seconds}"));
    LabOptions { control, ..LabOptions::default() }
}

/// Waits until a box says that it is not let in, for a reason that only a person can mend; the box stays up.
async fn not_let_in(rig: &mut ProcessRig, why: &str) -> anyhow::Result<()> {
    rig.status_where("the box to say why it is not let in", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.starts_with("not let in") && doing.contains(why))
    })
    .await?;
    assert!(!rig.has_ended()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_out_within_five_seconds_and_stays_out() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("revoked", &LIVELY).await?;
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "stolen" })).await?;
    let since = Instant::now();
    lab.node_where(&node, "the session to end", Duration::from_secs(5), |shown| shown["online"] == false)
        .await?;
    assert!(since.elapsed() < Duration::from_secs(5));
    let turned_away = |status: &serde_json::Value| {
        status["doing"].as_str().is_some_and(|doing| doing.starts_with("turned away"))
    };
    rig.status_where("new sessions to be refused", SOON, turned_away).await?;
    assert!(!rig.has_ended()?, "nothing restarts");

    // The node is not let in after a restart either.
    rig.shut_down().await?;
    rig.power_on()?;
    rig.status_where("the box to be turned away after a restart", SOON, turned_away).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_expired_while_it_was_off_comes_back_with_its_old_keys() -> anyhow::Result<()>
{
    let (_folder, lab) = lab(short_lived(6)).await?;
    let (node, mut rig) = lab.online_box("sleeper", &LIVELY).await?;
    rig.power_cut(1).await?;
    until("the certificates to expire", SOON, || async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM node_certificates WHERE not_after > now()")
            .fetch_one(&lab.database)
            .await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    rig.power_on()?;
    rig.online(SOON).await?;
    let entries = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
    assert!(entries.iter().any(|entry| entry["action"] == "node.renew"), "it came back by renewal");

    // A revoked node does not come back.
    rig.power_cut(1).await?;
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "test" })).await?;
    rig.power_on()?;
    until("its renewal to be refused", SOON, || async {
        let log = tokio::fs::read_to_string(rig.log()).await?;
        Ok(log.contains("not enrolled, it is revoked").then_some(()))
    })
    .await?;
    let status = rig.status().await?;
    assert_eq!(status["online"], false);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_ends_no_session() -> anyhow::Result<()> {
    let (_folder, lab) = lab(short_lived(9)).await?;
    let (node, rig) = lab.online_box("renewing", &LIVELY).await?;
    until("a renewal", Duration::from_secs(90), || async {
        let entries = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
        Ok(entries.iter().any(|entry| entry["action"] == "node.renew").then_some(()))
    })
    .await?;
    assert_eq!(rig.status().await?["connects"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_box_enrols_again_under_its_id_and_another_box_does_not() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("home", &LIVELY).await?;
    account::settled(&lab.database, &node, 10).await?;
    rig.shut_down().await?;

    // The disk is wiped; the TPM is the same.
    std::fs::remove_dir_all(rig.data())?;
    let token = lab.install_token(&node).await?;
    let config = std::fs::read_to_string(rig.config())?;
    let line = config.lines().find(|line| line.starts_with("install_token")).unwrap_or_default();
    std::fs::write(rig.config(), config.replace(line, &format!("install_token = \"{token}\"")))?;
    rig.power_on()?;
    rig.online(SOON).await?;
    let entries: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT epoch) FROM telemetry").fetch_one(&lab.database).await?;
    let more = until("telemetry under a later epoch", SOON, || async {
        let now: i64 = sqlx::query_scalar("SELECT count(DISTINCT epoch) FROM telemetry")
            .fetch_one(&lab.database)
            .await?;
        Ok((now > entries.min(1)).then_some(now))
    });
    assert_eq!(more.await?, 2);

    // Another TPM under the same id is refused until an admin unbinds it.
    let token = lab.install_token(&node).await?;
    let mut other = lab.make_box("other", &token, &BoxOptions::default()).await?;
    other.power_on()?;
    not_let_in(&mut other, "bound to another TPM").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_token_works_once() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (_, token) = lab.add_node("once").await?;
    let mut first = lab.make_box("first", &token, &BoxOptions::default()).await?;
    first.power_on()?;
    first.online(SOON).await?;
    let mut second = lab.make_box("second", &token, &BoxOptions::default()).await?;
    second.power_on()?;
    not_let_in(&mut second, "install token").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_software_identity_runs_only_where_it_is_allowed_and_is_marked() -> anyhow::Result<()> {
    let software = BoxOptions { software: true, ..LIVELY };
    {
        let (_folder, lab) = lab(LabOptions::default()).await?;
        let (_, mut rig) = lab.add_box("soft", &software).await?;
        rig.power_on()?;
        not_let_in(&mut rig, "does not let boxes without a TPM in").await?;
    }
    let control = ControlOptions::default().with("enrolment", "allow_software = true");
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let (node, rig) = lab.online_box("soft", &software).await?;
    assert_eq!(rig.status().await?["identity"], "software");
    let shown = lab.node(&node).await?;
    assert_eq!((&shown["identity"], &shown["tpm_certified"]), (&json!("software"), &json!(false)));
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "a verdict", SOON, |shown| shown["attestation"] == "software").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_whose_answer_was_lost_can_be_finished_by_the_same_box() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("enrolment", "allow_software = true");
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    for (label, software) in [("tpm", false), ("soft", true)] {
        let (node, mut rig) = lab.online_box(label, &BoxOptions { software, ..LIVELY }).await?;
        rig.power_cut(1).await?;
        // This looks as if the power had failed after the control plane's commit and before the box saved its
        // enrolment.
        std::fs::remove_file(rig.data().join("enrolment.json"))?;
        rig.power_on()?;
        rig.online(SOON).await?;
        let entries = lab.admin.list(&format!("/audit?subject={node}"), 100).await?;
        let enrolments = entries.iter().filter(|entry| entry["action"] == "node.enrol").count();
        assert_eq!(enrolments, 2, "{label}");
    }
    // Another software box with the used token shows another key.
    let (_, token) = lab.add_node("shared").await?;
    let software = BoxOptions { software: true, ..LIVELY };
    let mut first = lab.make_box("shared-first", &token, &software).await?;
    first.power_on()?;
    first.online(SOON).await?;
    let mut second = lab.make_box("shared-second", &token, &software).await?;
    second.power_on()?;
    not_let_in(&mut second, "install token").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_ask_for_renewals_leave_nothing_behind() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("asked", &LIVELY).await?;
    rig.shut_down().await?;
    let count = || async {
        sqlx::query_scalar::<_, i64>(
            "SELECT (SELECT count(*) FROM enrolments) + (SELECT count(*) FROM audit_log)",
        )
        .fetch_one(&lab.database)
        .await
    };
    let before = count().await?;
    let stranger = lab.control.anonymous()?;
    let folder = tempfile::tempdir()?;
    let open = |name: &str| SoftwareKey::open_or_create(&folder.path().join(name));
    let keys = NodeKeys::Software { tls: open("tls")?, results: open("results")? };
    let csr = serde_json::to_value(Base64(certificate_request(&keys)?))?;
    for (csr, refusal) in [(json!("AAAA"), "csr"), (csr, "csr-key")].iter().cycle().take(30) {
        let question = stranger.post("/enrol/renew/challenge", &json!({ "node": node })).await?;
        let result_key = json!({ "public": "AAAA", "signature": "AAAA" });
        let answer = json!({
            "node": node, "session": question["session"], "csr": csr, "possession": "AAAA", "result_key": result_key,
        });
        assert_eq!(refused_as(stranger.post("/enrol/renew", &answer).await), *refusal);
    }
    assert_eq!(count().await?, before);
    rig.power_on()?;
    rig.online(SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_suspended_operator_are_out_until_it_is_approved_again() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("suspended", &LIVELY).await?;
    lab.admin.post(&format!("/operators/{}/suspend", lab.operator), &json!({})).await?;
    lab.node_where(&node, "the session to end", Duration::from_secs(5), |shown| shown["online"] == false)
        .await?;
    rig.status_where("new sessions to be refused", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.starts_with("turned away"))
    })
    .await?;
    lab.admin.post(&format!("/operators/{}/approve", lab.operator), &json!({})).await?;
    rig.online(SOON).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0, "what was recorded meanwhile arrives");
    Ok(())
}
