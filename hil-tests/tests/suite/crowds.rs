//! Crowds at the API: strangers who hold connections keep nobody else out.

use crate::raw::{Caller, get, rest};
use crate::{SOON, lab};
use noderr_hil::{ControlOptions, LabOptions, until};
use std::fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PLACES: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_holds_all_its_connections_keeps_nobody_else_out() -> anyhow::Result<()> {
    let control = ControlOptions::default().with("http", format!("connections_per_address = {PLACES}"));
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let neighbour = Caller::new(&lab, [127, 0, 0, 2])?;
    let request = get("/ready");

    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut slow = neighbour.connect().await?;
        slow.write_all(&request.as_bytes()[..9]).await?;
        held.push(slow);
    }
    assert!(neighbour.ask(&request).await?.starts_with("HTTP/1.1 200"), "its own oldest did not make room");
    assert_eq!(rest(&mut held[0]).await?, "", "an address holds more than {PLACES} connections");
    assert!(lab.admin.get("/operators").await.is_ok(), "others are kept out");

    // Connections without a request do not hold their places for long.
    for slow in &mut held[1..] {
        assert!(!rest(slow).await?.contains("200 OK"));
    }
    assert!(neighbour.ask(&request).await?.starts_with("HTTP/1.1 200"), "the places did not come back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_fill_the_house_with_bodies_that_never_end_keep_nobody_else_out() -> anyhow::Result<()>
{
    let control = ControlOptions::default()
        .with("http", format!("connections_per_address = {PLACES}\nconnections = {}", 2 * PLACES));
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let begun = "POST /api/v1/enrol/begin HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: 60000\r\n\r\n{";
    let mut held = Vec::new();
    for neighbour in [Caller::new(&lab, [127, 0, 0, 2])?, Caller::new(&lab, [127, 0, 0, 3])?] {
        for _ in 0..PLACES {
            let mut slow = neighbour.connect().await?;
            slow.write_all(begun.as_bytes()).await?;
            held.push(slow);
        }
    }
    let stranger = Caller::new(&lab, [127, 0, 0, 4])?;
    for _ in 0..5 {
        let answer = stranger.ask(&get("/ready")).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "a stranger is kept out: {answer}");
        assert!(lab.admin.get("/operators").await.is_ok(), "an administrator is kept out");
    }
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_fill_the_house_and_read_nothing_keep_nobody_else_out() -> anyhow::Result<()> {
    let control = ControlOptions::default()
        .with("http", format!("connections_per_address = {PLACES}\nconnections = {}", 2 * PLACES));
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    // More than sockets keep for a reader who does not read.
    let archive = "0f".repeat(32);
    fs::write(lab.control.folder().join("objects").join(&archive), vec![7; 64 << 20])?;
    let request = get("/ready").replace("/api/v1/ready", &format!("/releases/objects/{archive}"));
    let mut held = Vec::new();
    for neighbour in [Caller::new(&lab, [127, 0, 0, 2])?, Caller::new(&lab, [127, 0, 0, 3])?] {
        for _ in 0..PLACES {
            let mut slow = neighbour.connect().await?;
            slow.write_all(request.as_bytes()).await?;
            // It is being answered, and reads no more than this.
            let mut line = [0; 15];
            slow.read_exact(&mut line).await?;
            assert_eq!(String::from_utf8_lossy(&line), "HTTP/1.1 200 OK");
            held.push(slow);
        }
    }
    let stranger = Caller::new(&lab, [127, 0, 0, 4])?;
    until("a stranger to be let in", SOON, || async {
        Ok(stranger
            .ask(&get("/ready"))
            .await
            .ok()
            .filter(|answer| answer.starts_with("HTTP/1.1 200"))
            .map(drop))
    })
    .await?;
    drop(held);
    Ok(())
}
