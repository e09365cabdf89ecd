//! The desired state between the database and a node: which number a document has, and what counts as done.

use crate::{SOON, lab};
use noderr_hil::{ControlOptions, LabOptions, Papers, Peer, hello};
use noderr_protocol::{
    ActualState, Base, DesiredState, Down, Message as _, Phase, Section, SectionBody as _, SectionReport, Up,
};
use sqlx::postgres::PgPool;

/// Peers have no TPM; a document that says so beside the rest would be another one.
fn peers_may_stay() -> LabOptions {
    let control = ControlOptions::default().with("enrolment", "allow_software = true");
    LabOptions { control, ..LabOptions::default() }
}

async fn document(peer: &mut Peer) -> anyhow::Result<DesiredState> {
    peer.say(&Up::Hello(hello(1)))?;
    peer.hear_a(SOON, "a desired state", of_desired).await
}

fn report(desired_version: u64, phase: Phase) -> Up {
    let report = SectionReport { kind: Base::KIND, phase, body: Default::default(), error: None };
    Up::ActualState(ActualState { desired_version, sections: vec![report].try_into().unwrap_or_default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_counts_as_done_when_its_node_says_so_and_not_when_it_was_sent() -> anyhow::Result<()> {
    let (_folder, lab) = lab(peers_may_stay()).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let node = papers.node.to_string();
    let mut peer = papers.connect(lab.control.broker()).await?;
    let version = document(&mut peer).await?.version;
    assert_eq!(lab.admin.get(&format!("/nodes/{node}")).await?["outcome"], "waiting");
    for (phase, outcome) in
        [(Phase::Working, "working"), (Phase::Failed, "failed"), (Phase::Applied, "applied")]
    {
        peer.say(&report(version, phase))?;
        peer.flush().await?;
        lab.node_where(&node, outcome, SOON, |shown| shown["outcome"] == outcome).await?;
    }
    let path = format!("/nodes/{node}/desired");
    lab.admin.patch(&path, &serde_json::json!({ "paused": true })).await?;
    assert_eq!(lab.admin.get(&format!("/nodes/{node}")).await?["outcome"], "waiting");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_says_something_else_has_another_number_whoever_forgot_to_count() -> anyhow::Result<()>
{
    let (_folder, lab) = lab(peers_may_stay()).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = papers.connect(lab.control.broker()).await?;
    let first = document(&mut peer).await?;
    assert_eq!(document(&mut peer).await?, first, "the same again has the same number");

    // As a new version of the control plane would, that says a section otherwise.
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    sqlx::query("UPDATE nodes SET desired_sample_every_s = 77 WHERE id = $1")
        .bind(papers.node.as_bytes().as_slice())
        .execute(&owner)
        .await?;
    let second = document(&mut peer).await?;
    assert_eq!(Base::of(second.find(Base::KIND).unwrap_or_default())?.sample_every_s, 77);
    assert!(second.version > first.version, "the node would ignore it under a number that it knows");
    assert_eq!(document(&mut peer).await?, second);

    // A newer version on the same database has sent a section that this one does not make: it stays, under its number.
    let newer = DesiredState {
        version: u64::MAX,
        sections: [&*second.sections, &[newer_section()]].concat().try_into()?,
    };
    sqlx::query("UPDATE nodes SET desired_sent = $2 WHERE id = $1")
        .bind(papers.node.as_bytes().as_slice())
        .bind(Down::DesiredState(newer).encode()?)
        .execute(&owner)
        .await?;
    let third = document(&mut peer).await?;
    assert_eq!((third.version, third.find(40)), (second.version, Some(&[1, 2][..])));
    Ok(())
}

fn newer_section() -> Section {
    Section { kind: 40, body: vec![1, 2].try_into().unwrap_or_default() }
}

/// A database that has lost its last change, as after a restore: what is wanted next is not what the node has ignored.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_a_lost_change_had_is_never_given_out_again() -> anyhow::Result<()> {
    let (_folder, lab) = lab(peers_may_stay()).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let (node, mut peer) = (papers.node.to_string(), papers.connect(lab.control.broker()).await?);
    let first = document(&mut peer).await?.version;
    let pause = async |paused: bool| {
        lab.admin.patch(&format!("/nodes/{node}/desired"), &serde_json::json!({ "paused": paused })).await
    };
    pause(true).await?;
    let lost = peer.hear_a(SOON, "the change", of_desired).await?.version;
    assert!(lost > first);
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    sqlx::query("UPDATE nodes SET desired_version = 1, desired_paused = false, desired_sent = NULL, actual_version = 1")
        .execute(&owner)
        .await?;
    tokio::time::timeout(SOON, async {
        // A second later at most: numbers are from the clock.
        loop {
            pause(true).await?;
            let again = peer.hear_a(SOON, "the change after the loss", of_desired).await?;
            if again.version > lost {
                return anyhow::Ok(());
            }
            peer.say(&report(lost, Phase::Applied))?;
        }
    })
    .await??;
    Ok(())
}

fn of_desired(message: Down) -> Option<DesiredState> {
    match message {
        Down::DesiredState(state) => Some(state),
        _ => None,
    }
}
