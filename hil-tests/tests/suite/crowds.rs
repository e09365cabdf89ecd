//! Crowds at the API: strangers who hold connections keep nobody else out.

use crate::lab;
use crate::raw::{Caller, get, rest};
use noderr_hil::{ControlOptions, LabOptions};
use tokio::io::AsyncWriteExt as _;

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
