//! A hostile enrolled node at a whole control plane: its messages cost nobody but the node itself. (Messages
//! that the fence forbids are in the broker's own tests.) Most of it with a mosquitto in the broker's place too.

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::{Lab, LabOptions, Papers, Peer, account, hello, until};
use noderr_protocol::{
    Alert, AlertCode, BatchOutcome, Down, Entry, Gap, GapReason, Heartbeat, Hello, KnownSection, Lane,
    LaneTag, Measured, Message as _, Metric, Payload, Position, Record, RecordBatch, TelemetrySample, Text,
    Up,
};
use sqlx::postgres::PgPool;
use std::time::{Duration, Instant};

fn absurd_hello(epoch: u64) -> Up {
    Up::Hello(Hello {
        software: Text::truncated("hostile \0 1.0"),
        architecture: Text::truncated("\u{7f}\0"),
        speaks: u8::MAX,
        knows: absurd_sections().try_into().unwrap_or_default(),
        time: i64::MAX,
        desired_version: u64::MAX,
        ..hello(epoch)
    })
}

fn absurd_sections() -> Vec<KnownSection> {
    (0..64).map(|kind| KnownSection { kind, version: u8::MAX }).collect()
}

fn records(lane: Lane, entries: Vec<Entry>) -> anyhow::Result<Up> {
    Ok(Up::Records(RecordBatch {
        lane: lane.tag(),
        entries: entries.try_into().ok().context("too many entries")?,
    }))
}

fn record(epoch: u64, seq: u64, payload: &Payload) -> anyhow::Result<Entry> {
    let body = payload.encode()?.try_into().ok().context("too long a body")?;
    Ok(Entry::Record(Record { position: Position { epoch, seq }, body }))
}

async fn marks(peer: &mut Peer, lane: Lane, seq: u64) -> anyhow::Result<()> {
    peer.hear_a(SOON, "mark", |message| match message {
        Down::HighWaterMarks(marks) => {
            marks.marks.iter().any(|mark| mark.lane == lane.tag() && mark.through.seq >= seq).then_some(())
        }
        _ => None,
    })
    .await
}

async fn introduced(papers: &Papers, lab: &Lab) -> anyhow::Result<Peer> {
    let mut peer = papers.connect(lab.broker()).await?;
    peer.say(&absurd_hello(1))?;
    peer.hear_a(SOON, "welcome", |message| matches!(message, Down::Welcome(_)).then_some(())).await?;
    Ok(peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_times_and_texts_beyond_any_sense_are_stored_within_sense() -> anyhow::Result<()> {
    absurd_values(LabOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_times_and_texts_beyond_any_sense_are_stored_within_sense_behind_mosquitto()
-> anyhow::Result<()> {
    absurd_values(LabOptions::behind_mosquitto()).await
}

async fn absurd_values(broker: LabOptions) -> anyhow::Result<()> {
    let (_folder, lab) = lab(broker).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab).await?;
    let metrics = (0..128_u16).map(|metric| Measured { metric: metric / 2, value: i64::MIN });
    let values = metrics.collect::<Vec<_>>().try_into().ok().context("too many")?;
    let absurd = TelemetrySample { time: i64::MIN, values };
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

    // The API shows the values that were stored.
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
    a_refused_record(LabOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_the_database_refuses_is_kept_unread_and_stops_nobody_behind_mosquitto() -> anyhow::Result<()>
{
    a_refused_record(LabOptions::behind_mosquitto()).await
}

async fn a_refused_record(broker: LabOptions) -> anyhow::Result<()> {
    let (_folder, lab) = lab(broker).await?;
    let (honest, _rig) = lab.online_box("honest", &LIVELY).await?;
    // No value is known that the schema refuses; a CHECK of the test stands for a refusal that nobody thought
    // of.
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    sqlx::query("ALTER TABLE telemetry ADD CHECK (cpu_permille <> 777)").execute(&owner).await?;

    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab).await?;
    for (seq, cpu_permille) in [(1, 1), (2, 777), (3, 3)] {
        let sample = TelemetrySample::at(0).with(Metric::Cpu, Some(cpu_permille));
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

/// Records and gaps of one number by turns, with a reason that only the control plane can know.
fn claims(first: u64) -> anyhow::Result<Vec<Entry>> {
    let sample = TelemetrySample::at(0).with(Metric::Cpu, Some(1));
    (first..first + 512)
        .map(|seq| match seq % 2 {
            0 => record(1, seq, &Payload::Telemetry(sample.clone())),
            _ => Ok(Entry::Gap(Gap { epoch: 1, first: seq, last: seq, reason: GapReason::OverQuota })),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_claims_thousands_of_gaps_keeps_nobody_waiting() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (honest, _rig) = lab.online_box("honest", &LIVELY).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab).await?;
    // A few at first, one by one: PostgreSQL settles on a plan for a table that is nearly empty.
    for seq in 1..=60 {
        let gap = Gap { epoch: 1, first: seq, last: seq, reason: GapReason::OverQuota };
        peer.say(&records(Lane::Telemetry, vec![Entry::Gap(gap)])?)?;
        peer.flush().await?;
        marks(&mut peer, Lane::Telemetry, seq).await?;
    }
    let flooding = tokio::spawn(async move {
        for batch in 0..60 {
            peer.say(&records(Lane::Telemetry, claims(61 + batch * 512)?)?)?;
        }
        let begun = Instant::now();
        marks(&mut peer, Lane::Telemetry, 60 + 60 * 512).await?;
        anyhow::Ok(begun.elapsed())
    });
    let mut longest = Duration::ZERO;
    while !flooding.is_finished() || longest.is_zero() {
        let (before, begun) =
            (account::lane(&lab.database, &honest, "telemetry").await?.last, Instant::now());
        account::settled(&lab.database, &honest, before + 5).await?;
        longest = longest.max(begun.elapsed());
    }
    let took = flooding.await??;
    // A batch of the honest box comes every second or two in any case; it waited for a minute where PostgreSQL read all gaps.
    assert!(longest < Duration::from_secs(20), "the honest box waits {longest:?}; the flood took {took:?}");
    let claimed: i64 = sqlx::query_scalar("SELECT count(*) FROM gaps WHERE reason = 'over_quota'")
        .fetch_one(&lab.database)
        .await?;
    assert_eq!(claimed, 0, "the node's word counts for what only the control plane can know");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_floods_reports_beside_its_records_is_slowed_down() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (honest, _rig) = lab.online_box("honest", &LIVELY).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab).await?;
    for epoch in 0..2000 {
        peer.say(&absurd_hello(epoch))?;
    }
    let flood = tokio::spawn(async move {
        // The broker stops reading, so not all of the flood need be taken.
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_build_says_costs_neither_its_session_nor_a_record() -> anyhow::Result<()> {
    a_later_build(LabOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_build_says_costs_neither_its_session_nor_a_record_behind_mosquitto()
-> anyhow::Result<()> {
    a_later_build(LabOptions::behind_mosquitto()).await
}

async fn a_later_build(broker: LabOptions) -> anyhow::Result<()> {
    let (_folder, lab) = lab(broker).await?;
    let papers = Papers::enrolled(&lab, 1).await?.remove(0);
    let mut peer = introduced(&papers, &lab).await?;
    // A kind of message, a lane, a wire version, a metric, a code and a payload that this build does not
    // know.
    peer.say_raw("tasks", vec![1, 0x77, 1, 2, 3])?;
    let lane = RecordBatch {
        lane: LaneTag::of_byte(9),
        entries: vec![raw(1, &[1, 2])?].try_into().unwrap_or_default(),
    };
    peer.say(&Up::Records(lane))?;
    peer.say_raw("records", vec![200, 3, 0])?;
    assert_eq!(unreadable_lanes(&mut peer).await?, Lane::ALL.map(Lane::tag), "nobody can tell which lane");
    peer.say_raw("records", vec![1, 3, Lane::Alert.tag().byte(), 1, 77])?;
    assert_eq!(unreadable_lanes(&mut peer).await?, [Lane::Alert.tag()]);
    let later = vec![Measured { metric: 4711, value: 5 }, Measured { metric: Metric::Cpu.id(), value: 7 }];
    let sample = TelemetrySample { time: 1, values: later.try_into().unwrap_or_default() };
    peer.say(&records(Lane::Telemetry, vec![record(1, 1, &Payload::Telemetry(sample))?])?)?;
    peer.flush().await?;
    marks(&mut peer, Lane::Telemetry, 1).await?;
    let alert = Alert { time: 1, code: AlertCode::Other(99), detail: Text::truncated("new") };
    let entries = vec![record(1, 1, &Payload::Alert(alert))?, raw(2, &[1, 0x66, 5, 5])?];
    peer.say(&records(Lane::Alert, entries)?)?;
    peer.flush().await?;
    marks(&mut peer, Lane::Alert, 2).await?;

    let node = papers.node.to_string();
    let alerts = lab.admin.list(&format!("/nodes/{node}/alerts"), 10).await?;
    assert_eq!(alerts[0]["code"], "code_99");
    let samples = lab.admin.list(&format!("/nodes/{node}/telemetry"), 10).await?;
    assert_eq!(samples[0]["cpu_permille"], 7);
    let kept: Vec<u8> = sqlx::query_scalar("SELECT body FROM unreadable_records WHERE lane = 'alert'")
        .fetch_one(&lab.database)
        .await?;
    assert_eq!(kept, [1, 0x66, 5, 5], "kept as it came, for a build that can read it");
    Ok(())
}

fn raw(seq: u64, body: &[u8]) -> anyhow::Result<Entry> {
    let body = body.to_vec().try_into().ok().context("too long a body")?;
    Ok(Entry::Record(Record { position: Position { epoch: 1, seq }, body }))
}

/// The lanes of the next answer, whose outcome must be `Unreadable`.
async fn unreadable_lanes(peer: &mut Peer) -> anyhow::Result<Vec<LaneTag>> {
    peer.flush().await?;
    let heard = async {
        loop {
            if let Down::HighWaterMarks(marks) = peer.hear().await? {
                assert_eq!(marks.outcome, BatchOutcome::Unreadable);
                let mut lanes: Vec<_> = marks.marks.iter().map(|mark| mark.lane).collect();
                lanes.sort_by_key(|lane| lane.byte());
                return anyhow::Ok(lanes);
            }
        }
    };
    tokio::time::timeout(SOON, heard).await.context("no answer came")?
}
