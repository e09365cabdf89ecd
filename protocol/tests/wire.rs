//! The wire: golden bytes that never change, decoding that never panics, allocation that stays in bounds.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a failure")]

use noderr_protocol::{
    ActualState, Alert, AlertCode, AttestationAnswer, AttestationChallenge, Base, BatchOutcome, Blob,
    DecodeError, DesiredState, Down, DownKind, Entry, EventLogPart, EventLogRequest, Evidence, Gap,
    GapReason, Heartbeat, Hello, HighWaterMarks, KnownSection, Lane, LaneMark, LaneState, LaneTag, List,
    MAX_ENVELOPE, MAX_RECORD, MAX_SECTION, Message, Metric, NodeId, Payload, PcrValue, Phase, Position,
    QuoteEvidence, Record, RecordBatch, Section, SectionBody as _, SectionReport, TelemetrySample, Text,
    Topics, Up, UpKind, Welcome,
};
use proptest::prelude::*;
use std::fmt::Debug;

fn list<T: Debug, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    items.try_into().unwrap()
}

fn hello() -> Hello {
    Hello {
        software: Text::truncated("noderr-node 0.1.0"),
        architecture: Text::truncated("x86_64"),
        speaks: 1,
        knows: list(vec![KnownSection { kind: 1, version: 1 }, KnownSection { kind: 300, version: 2 }]),
        facts: list(vec![Section { kind: 2, body: vec![1, 7].try_into().unwrap() }]),
        epoch: 1_700_000_000,
        time: 1_700_000_000_123,
        desired_version: 3,
        lanes: list(vec![LaneState { lane: Lane::Telemetry.tag(), oldest: 7, next: 42 }]),
    }
}

fn up_messages() -> Vec<(&'static str, Up)> {
    let position = Position { epoch: 1_700_000_000, seq: 41 };
    vec![
        ("hello", Up::Hello(hello())),
        (
            "heartbeat",
            Up::Heartbeat(Heartbeat {
                time: 1_700_000_000_123,
                process_uptime_s: 77,
                failing: list(vec![Text::truncated("disk")]),
                backlog: 300,
                lost: 2,
            }),
        ),
        (
            "records",
            Up::Records(RecordBatch {
                lane: Lane::Alert.tag(),
                entries: list(vec![
                    Entry::Gap(Gap { epoch: 1_700_000_000, first: 38, last: 40, reason: GapReason::Damaged }),
                    Entry::Record(Record { position, body: vec![1, 2, 3].try_into().unwrap() }),
                ]),
            }),
        ),
        (
            "actual",
            Up::ActualState(ActualState {
                desired_version: 4,
                sections: list(vec![SectionReport {
                    kind: 1,
                    phase: Phase::Failed,
                    body: Base { paused: true, sample_every_s: 10 }.section().unwrap().body,
                    error: Some(Text::truncated("no")),
                }]),
            }),
        ),
        (
            "attestation",
            Up::AttestationAnswer(AttestationAnswer {
                challenge: [9; 16],
                evidence: Evidence::Quote(QuoteEvidence {
                    attest: vec![0xff, 0x54].try_into().unwrap(),
                    signature: vec![0, 0x18].try_into().unwrap(),
                    pcrs: list(vec![PcrValue { index: 4, digest: [8; 32] }]),
                }),
            }),
        ),
        (
            "event-log",
            Up::EventLogPart(EventLogPart {
                challenge: [9; 16],
                part: 1,
                parts: 2,
                bytes: vec![0, 3, 7].try_into().unwrap(),
            }),
        ),
    ]
}

fn down_messages() -> Vec<(&'static str, Down)> {
    let through = Position { epoch: 1_700_000_000, seq: 41 };
    vec![
        (
            "desired",
            Down::DesiredState(DesiredState {
                version: 5,
                sections: list(vec![
                    Base { paused: false, sample_every_s: 30 }.section().unwrap(),
                    Section { kind: 900, body: vec![3].try_into().unwrap() },
                ]),
            }),
        ),
        (
            "challenge",
            Down::AttestationChallenge(AttestationChallenge {
                challenge: [9; 16],
                nonce: [7; 32],
                pcr_mask: 0xff,
            }),
        ),
        (
            "welcome",
            Down::Welcome(Welcome {
                speaks: 1,
                facts: list(vec![Section { kind: 5, body: vec![1, 7].try_into().unwrap() }]),
                marks: list(vec![LaneMark { lane: Lane::Alert.tag(), through }]),
            }),
        ),
        (
            "marks",
            Down::HighWaterMarks(HighWaterMarks {
                marks: list(vec![LaneMark { lane: Lane::Result.tag(), through }]),
                outcome: BatchOutcome::Rewind,
            }),
        ),
        ("event-log", Down::EventLogRequest(EventLogRequest { challenge: [9; 16] })),
    ]
}

fn payloads() -> Vec<(&'static str, Payload)> {
    // The metrics of the first release; a metric that is added later changes no golden file. A box without a fan.
    let metrics = (1..=18).filter_map(Metric::of_id).filter(|metric| *metric != Metric::FanSpeed);
    let measured = metrics.map(|metric| (metric, i64::from(metric.id()) * 100 - 700));
    let sample = measured.fold(TelemetrySample::at(1_700_000_000_123), |sample, (metric, value)| {
        sample.with(metric, Some(value))
    });
    let alert = Alert {
        time: 1_700_000_000_123,
        code: AlertCode::SpoolReplaced,
        detail: Text::truncated("set aside"),
    };
    vec![("telemetry", Payload::Telemetry(sample)), ("alert", Payload::Alert(alert))]
}

/// Do not change these files: boxes in the field speak them. A new wire version gets files of its own, and so does a new
/// version of a section's body.
fn assert_golden<M: Message + PartialEq + Debug>(direction: &str, messages: Vec<(&'static str, M)>) {
    for (name, message) in messages {
        let path = format!("{}/tests/golden/v1-{direction}-{name}.hex", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("NODERR_WRITE_MISSING_GOLDEN").is_some() && !std::path::Path::new(&path).exists()
        {
            std::fs::write(&path, hex::encode(message.encode().unwrap()) + "\n").unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path} is missing"));
        let golden = hex::decode(golden.trim()).unwrap();
        assert_eq!(
            hex::encode(message.encode().unwrap()),
            hex::encode(&golden),
            "{direction} {name} is written otherwise"
        );
        assert_eq!(M::decode(&golden).unwrap(), message, "{direction} {name} is read otherwise");
    }
}

#[test]
fn version_one_is_what_it_always_was() {
    assert_golden("up", up_messages());
    assert_golden("down", down_messages());
    assert_golden("payload", payloads());
}

#[test]
fn every_message_is_refused_at_every_shorter_length_and_with_anything_behind_it() {
    for (name, message) in up_messages() {
        let bytes = message.encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Up::decode(&bytes[..len]).is_err(), "{name} cut at {len}");
        }
        assert_eq!(Up::decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::TrailingBytes(1)), "{name}");
        assert!(Down::decode(&bytes).is_err(), "{name} passes for the other direction");
    }
}

#[test]
fn unknown_versions_kinds_and_sizes_are_named() {
    let bytes = up_messages()[0].1.encode().unwrap();
    assert_eq!(Up::decode(&[&[2], &bytes[1..]].concat()), Err(DecodeError::UnknownVersion(2)));
    assert_eq!(Up::decode(&[1, 0x7f]), Err(DecodeError::UnknownKind(0x7f)));
    assert_eq!(Up::decode(&[]), Err(DecodeError::Truncated));
    assert_eq!(Up::decode(&vec![1; MAX_ENVELOPE + 1]), Err(DecodeError::TooLarge(MAX_ENVELOPE + 1)));
}

#[test]
fn what_a_reader_does_not_know_is_kept_as_a_number_and_the_rest_is_read() {
    let lane = LaneTag::of_byte(77);
    let through = Position { epoch: 1, seq: 2 };
    let marks = HighWaterMarks {
        marks: list(vec![LaneMark { lane, through }, LaneMark { lane: Lane::Alert.tag(), through }]),
        outcome: BatchOutcome::Other(9),
    };
    let read = Down::decode(&Down::HighWaterMarks(marks.clone()).encode().unwrap()).unwrap();
    assert_eq!(read, Down::HighWaterMarks(marks));
    assert_eq!((lane.known(), Lane::Alert.tag().known()), (None, Some(Lane::Alert)));
    assert_eq!(GapReason::of_byte(200).name(), "reason_200");
    assert_eq!(AlertCode::of_byte(6).name(), "records_damaged");
    // A section of a version that this build does not read is refused by itself, and not with its document.
    let newer =
        [&[9_u8][..], &Base { paused: true, sample_every_s: 1 }.section().unwrap().body[1..]].concat();
    assert_eq!(Base::of(&newer), Err(DecodeError::UnknownVersion(9)));
    assert_eq!(Base::of(&[]), Err(DecodeError::Truncated));
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // RecordBatch of the telemetry lane with 2^32 - 1 entries, of which none follows.
    let lie = [1, UpKind::Records.byte(), 2, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(Up::decode(&lie), Err(DecodeError::Malformed(_))));
    assert!(Blob::<4>::try_from(vec![0; 5]).is_err());
    assert!(List::<u8, 2>::try_from(vec![0; 3]).is_err());
}

#[test]
fn the_largest_batch_fits_the_envelope() {
    let body: Blob<MAX_RECORD> = vec![7; 200].try_into().unwrap();
    let record =
        |seq| Entry::Record(Record { position: Position { epoch: u64::MAX, seq }, body: body.clone() });
    let entries = (0..256).map(record).collect::<Vec<_>>();
    assert!(
        Up::Records(RecordBatch { lane: Lane::Telemetry.tag(), entries: list(entries) }).encode().is_ok()
    );
}

#[test]
fn the_largest_actual_state_fits_the_envelope_and_loses_bodies_before_phases() {
    let report = |kind| SectionReport {
        kind,
        phase: Phase::Failed,
        body: vec![7; MAX_SECTION].try_into().unwrap(),
        error: Some(Text::truncated(&"e".repeat(256))),
    };
    let reports = (u16::MAX - 31..=u16::MAX).map(report).collect();
    let actual = ActualState { desired_version: u64::MAX, sections: list(reports) };
    assert!(Up::ActualState(actual.clone()).encode().is_err(), "it would fit as it is");
    let fitted = actual.clone().fitted();
    Up::ActualState(fitted.clone()).encode().unwrap();
    let without_body = |report: &SectionReport| SectionReport { body: Blob::default(), ..report.clone() };
    for (fitted, whole) in fitted.sections.iter().zip(&*actual.sections) {
        assert!(fitted == whole || *fitted == without_body(whole));
    }
    assert_eq!(fitted.sections.iter().filter(|report| !report.body.is_empty()).count(), 6);
}

#[test]
fn topics_have_one_spelling() {
    let topics = Topics::default();
    let node = NodeId::from_bytes([0xab; 32]);
    for kind in UpKind::ALL {
        assert_eq!(topics.parse_up(&topics.up(&node, *kind)), Some((node, *kind)));
        assert_eq!(topics.parse_down(&topics.up(&node, *kind)), None);
    }
    for kind in DownKind::ALL {
        assert_eq!(topics.parse_down(&topics.down(&node, *kind)), Some((node, *kind)));
    }
    let topic = topics.up(&node, UpKind::Hello);
    for wrong in
        [topic.to_uppercase(), format!("{topic}/"), topic.replace("/up/", "//up/"), topic[1..].to_owned()]
    {
        assert_eq!(topics.parse_up(&wrong), None, "{wrong}");
    }
    for prefix in ["tenants", "/tenants/", "/a/+", "/a/#", "", "/é"] {
        assert_eq!(Topics::new(prefix), None, "{prefix}");
    }
}

#[test]
fn node_ids_have_one_spelling_and_depend_on_operator_and_salt() {
    let id = NodeId::derive(&[1; 16], &[2; 32]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!(id.to_string().to_uppercase().parse::<NodeId>().is_err());
    assert!("ab".parse::<NodeId>().is_err());
    assert_ne!(id, NodeId::derive(&[1; 16], &[3; 32]));
    assert_ne!(id, NodeId::derive(&[2; 16], &[2; 32]));
    assert_eq!(id.short(), id.to_string()[..8]);
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Up::decode(&bytes));
        drop(Down::decode(&bytes));
        drop(Payload::decode(&bytes));
    }

    #[test]
    fn what_decodes_encodes_to_something_that_decodes_to_the_same(
        kind in 1..6_u8, body in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let bytes = [&[1, kind][..], &body].concat();
        if let Ok(message) = Up::decode(&bytes) {
            prop_assert_eq!(Up::decode(&message.encode().unwrap()), Ok(message));
        }
    }

    #[test]
    fn damage_is_refused_or_read_as_something_else_but_never_panics(at: prop::sample::Index, by: u8) {
        for (_, message) in up_messages() {
            let mut bytes = message.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            drop(Up::decode(&bytes));
        }
    }

    #[test]
    fn truncation_keeps_text_whole(text: String) {
        let cut = Text::<16>::truncated(&text);
        prop_assert!(cut.len() <= 16 && text.starts_with(&*cut));
    }
}
