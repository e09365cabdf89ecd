//! Notices that were missed: the look round catches up with what each would have said.

use crate::{SOON, lab};
use anyhow::Context as _;
use noderr_hil::{Lab, LabOptions, Papers, Peer, hello};
use noderr_protocol::{Down, Up};
use sqlx::postgres::PgPool;

/// A node that is there, and the database with all rights: what is changed with them gives no notice.
async fn connected(lab: &Lab) -> anyhow::Result<(Papers, Peer, PgPool)> {
    let papers = Papers::enrolled(lab, 1).await?.remove(0);
    let mut peer = papers.connect(lab.control.broker()).await?;
    peer.say(&Up::Hello(hello(1)))?;
    peer.hear_a(SOON, "desired state", |message| matches!(message, Down::DesiredState(_)).then_some(()))
        .await?;
    Ok((papers, peer, PgPool::connect(&lab.control.owner_url()?).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_what_it_was_to_be_asked() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (papers, mut peer, owner) = connected(&lab).await?;
    sqlx::query(
        "INSERT INTO attestations (challenge, node_id, requested_by, nonce, pcr_mask)
         VALUES (decode(repeat('07', 16), 'hex'), $1, 'admin', decode(repeat('09', 32), 'hex'), 1)",
    )
    .bind(papers.node.as_bytes().as_slice())
    .execute(&owner)
    .await?;
    let asked = peer.hear_a(SOON, "challenge", |message| match message {
        Down::AttestationChallenge(challenge) => Some(challenge.challenge),
        _ => None,
    });
    assert_eq!(asked.await?, [7; 16]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_unbound_loses_its_session() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (papers, mut peer, owner) = connected(&lab).await?;
    sqlx::query("UPDATE node_certificates SET revoked_at = now() WHERE node_id = $1")
        .bind(papers.node.as_bytes().as_slice())
        .execute(&owner)
        .await?;
    let hung_up = async {
        loop {
            if let Err(error) = peer.hear().await {
                return error.to_string();
            }
        }
    };
    let why = tokio::time::timeout(SOON, hung_up).await.context("the session goes on")?;
    assert!(why.contains("hung up"), "{why}");
    assert!(papers.connect(lab.control.broker()).await.is_err(), "and comes back");
    Ok(())
}
