//! A hostile enrolled node at a whole control plane: what it says costs nobody but itself.
//! (What it may not say at all is held against the fence in the broker's own tests.)

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::{ControlPlane, LabOptions, Papers, Peer, account, until};
use noderr_protocol::{
    Alert, AlertCode, Down, Entry, Gap, GapReason, Heartbeat, Hello, IdentityKind, Lane, List, Message as _,
    Payload, Position, Record, RecordBatch, TelemetrySample, Text, Up,
};
use sqlx::postgres::PgPool;

fn hello(epoch: u64) -> Up {
    Up::Hello(Hello {
        software: Text::truncated("hostile \0 1.0"),
        architecture: Text::truncated("\u{7f}\0"),
        identity: IdentityKind::Tpm,
        epoch,
        time: i64::MAX,
        desired_version: u64::MAX,
        lanes: List::default(),
    })
}

fn records(lane: Lane, entries: Vec<Entry>) -> anyhow::Result<Up> {
    Ok(Up::Records(RecordBatch { lane, entries: entries.try_into().ok().context("too many entries")? }))
}

fn record(epoch: u64, seq: u64, payload: &Payload) -> anyhow::Result<Entry> {
    let body = payload.encode()?.try_into().ok().context("too long a body")?;
    Ok(Entry::Record(Record { position: Position { epoch, seq }, body }))
}

async fn marks(peer: &mut Peer, lane: Lane, seq: u64) -> anyhow::Result<()> {
    tokio::time::timeout(SOON, async {
        loop {
            if let Down::HighWaterMarks(marks) = peer.hear().await?
                && marks.marks.iter().any(|mark| mark.lane == lane && mark.through.seq >= seq)
            {
                return Ok(());
            }
        }
    })
    .await
    .context("no mark came")?
}

async fn introduced(papers: &Papers, control: &ControlPlane) -> anyhow::Result<Peer> {
    let mut peer = papers.connect(control.broker()).await?;
    peer.say(&hello(1))?;
    peer.flush().await?;
    marks(&mut peer, Lane::Telemetry, 0).await?;
    Ok(peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_times_and_texts_beyond_any_sense_are_stored_within_sense() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab.control).await?;
    let absurd = TelemetrySample {
        time: i64::MIN,
        uptime_s: u32::MAX,
        cpu_permille: u16::MAX,
        memory_used_kib: u64::MAX,
        disk_total_kib: u64::MAX,
        network_rx_bytes: u64::MAX,
        spool_lost: u64::MAX,
        clock_offset_ms: Some(i64::MIN),
        ..TelemetrySample::default()
    };
    let alert = Alert { time: i64::MAX, code: AlertCode::ClockWrong, detail: Text::truncated("\0\u{202e}") };
    peer.say(&records(Lane::Telemetry, vec![record(1, 1, &Payload::Telemetry(absurd))?])?)?;
    peer.say(&records(Lane::Alert, vec![record(u64::MAX, 1, &Payload::Alert(alert.clone()))?])?)?;
    let gap = Gap { epoch: u64::MAX, first: 1, last: u64::MAX, reason: GapReason::Budget };
    peer.say(&records(Lane::Result, vec![Entry::Gap(gap)])?)?;
    peer.say(&records(Lane::Alert, vec![record(1, 1, &Payload::Alert(alert))?])?)?;
    let failing = (0..16).map(|_| Text::truncated("\0")).collect::<Vec<_>>();
    peer.say(&Up::Heartbeat(Heartbeat {
        time: i64::MIN,
        process_uptime_s: u32::MAX,
        failing: failing.try_into().unwrap_or_default(),
        backlog: u64::MAX,
        lost: u64::MAX,
    }))?;
    peer.flush().await?;
    marks(&mut peer, Lane::Alert, 1).await?;

    // The API shows what is left of it.
    let node = papers.node.to_string();
    let shown = lab.node_where(&node, "the heartbeat", SOON, |shown| shown["lost"] == i64::MAX).await?;
    assert_eq!(shown["identity"], "software", "what it says of itself does not count");
    for page in ["telemetry", "alerts"] {
        assert_eq!(lab.admin.list(&format!("/nodes/{node}/{page}"), 10).await?.len(), 1, "{page}");
    }
    account::lane(&lab.database, &node, "telemetry").await?;
    account::lane(&lab.database, &node, "result").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_the_database_refuses_is_kept_unread_and_stops_nobody() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (honest, _rig) = lab.online_box("honest", &LIVELY).await?;
    // No value is known that the schema refuses; a rule of its own stands for the one nobody thought of.
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    sqlx::query("ALTER TABLE telemetry ADD CHECK (cpu_permille <> 777)").execute(&owner).await?;

    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab.control).await?;
    for (seq, cpu_permille) in [(1, 1), (2, 777), (3, 3)] {
        let sample = TelemetrySample { cpu_permille, ..TelemetrySample::default() };
        peer.say(&records(Lane::Telemetry, vec![record(1, seq, &Payload::Telemetry(sample))?])?)?;
    }
    peer.flush().await?;
    marks(&mut peer, Lane::Telemetry, 3).await?;
    let account = account::lane(&lab.database, &papers.node.to_string(), "telemetry").await?;
    assert_eq!((account.stored, account.missing), (3, 0));
    let unread: i64 =
        sqlx::query_scalar("SELECT count(*) FROM unreadable_records").fetch_one(&lab.database).await?;
    assert!(unread >= 1, "the refused one is kept as it came");

    let before = account::lane(&lab.database, &honest, "telemetry").await?.last;
    account::settled(&lab.database, &honest, before + 10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_floods_reports_beside_its_records_is_slowed_down() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (honest, _rig) = lab.online_box("honest", &LIVELY).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab.control).await?;
    for epoch in 0..2000 {
        peer.say(&hello(epoch))?;
    }
    let flood = tokio::spawn(async move {
        // It need not all be taken: the broker stops reading.
        peer.flush().await?;
        while peer.next().await.is_ok() {}
        anyhow::Ok(())
    });
    let before = account::lane(&lab.database, &honest, "telemetry").await?.last;
    account::settled(&lab.database, &honest, before + 20).await?;
    let epoch = || async {
        let id = papers.node.as_bytes().as_slice();
        let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM heartbeats WHERE node_id = $1")
            .bind(id)
            .fetch_one(&lab.database)
            .await?;
        anyhow::Ok(epoch)
    };
    until("the burst to be heard", SOON, || async { Ok((epoch().await? >= 50).then_some(())) }).await?;
    assert!(epoch().await? < 1000, "the rest waits");
    flood.abort();
    Ok(())
}
