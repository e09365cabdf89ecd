//! Slow links: what has gathered arrives over the worst line that a home has, once, and in one session.

use crate::lab;
use crate::raw::counted;
use noderr_hil::{BoxOptions, LabOptions, LinkQuality, account};
use std::time::Duration;

/// 32 kbit a second each way, and 600 ms each way.
const WORST: LinkQuality = LinkQuality::Narrow { kbit: 32, late: Duration::from_millis(600) };

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_over_a_line_that_is_narrow_late_and_stalls() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { sample_every_ms: Some(50), ..BoxOptions::PLAIN };
    let (node, rig) = lab.online_box("far", &options).await?;
    rig.network(LinkQuality::Down);
    rig.status_where("a backlog", Duration::from_secs(90), |status| {
        status["spool_records"].as_u64() > Some(400)
    })
    .await?;
    const COUNTED: [&str; 3] = [
        "noderr_broker_sessions_ended_total",
        "noderr_ingest_records_total",
        "noderr_ingest_duplicates_total",
    ];
    let mut before = [0.0; 3];
    for (value, name) in before.iter_mut().zip(COUNTED) {
        *value = counted(&lab.control, name).await?;
    }

    rig.network(WORST);
    for waiting in [180, 90] {
        rig.status_where("some to arrive", Duration::from_secs(120), |status| {
            status["spool_records"].as_u64() < Some(waiting)
        })
        .await?;
        rig.network(LinkQuality::Silent);
        tokio::time::sleep(Duration::from_secs(4)).await;
        rig.network(WORST);
    }
    rig.status_where("all to arrive", Duration::from_secs(120), |status| {
        status["spool_records"].as_u64() < Some(60)
    })
    .await?;
    let mut grown = [0.0; 3];
    for ((value, name), before) in grown.iter_mut().zip(COUNTED).zip(before) {
        *value = counted(&lab.control, name).await? - before;
    }
    let [ended, stored, twice] = grown;
    println!("{stored} records, {twice} of them twice, {ended} sessions cut");
    assert_eq!(ended, 0.0, "the session is cut");
    assert!(stored > 200.0 && twice < stored * 0.05, "{twice} of {stored} came twice");
    rig.network(LinkQuality::Up);
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0);
    Ok(())
}
