//! The desired state between the database and a node: which number a document has, and what counts as done.

use crate::{SOON, lab};
use noderr_hil::{LabOptions, Papers, Peer, hello};
use noderr_protocol::{ActualState, Base, DesiredState, Down, Phase, SectionBody as _, SectionReport, Up};
use sqlx::postgres::PgPool;

async fn document(peer: &mut Peer) -> anyhow::Result<DesiredState> {
    peer.say(&Up::Hello(hello(1)))?;
    peer.hear_a(SOON, "a desired state", |message| match message {
        Down::DesiredState(state) => Some(state),
        _ => None,
    })
    .await
}

fn report(desired_version: u64, phase: Phase) -> Up {
    let report = SectionReport { kind: Base::KIND, phase, body: Default::default(), error: None };
    Up::ActualState(ActualState { desired_version, sections: vec![report].try_into().unwrap_or_default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_counts_as_done_when_its_node_says_so_and_not_when_it_was_sent() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
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
    let (_folder, lab) = lab(LabOptions::default()).await?;
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
    assert_eq!(second.version, first.version + 1, "the node would ignore it under a number that it knows");
    assert_eq!(document(&mut peer).await?, second);
    Ok(())
}
