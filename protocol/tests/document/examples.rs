//! Golden bytes, a line for every part of a message.

use crate::trace::{Line, trace};
use noderr_protocol::enrol::{attest_binding, enrol_binding, renew_binding};
use noderr_protocol::release::{Hardware, Releases, ReleasesReport};
use noderr_protocol::{
    AttestationChallenge, Base, Down, Message as _, Payload, Quarantine, SectionBody as _, Up,
};
use std::fmt::Write as _;
use std::fs;

/// An example with a line for every part, from the golden bytes.
pub(crate) fn example(file: &str) -> String {
    let path = format!("{}/tests/golden/{file}.hex", env!("CARGO_MANIFEST_DIR"));
    let golden = hex::decode(fs::read_to_string(path).unwrap().trim()).unwrap();
    let header = |kind: &str| Line {
        bytes: golden[..2].to_vec(),
        field: String::new(),
        says: format!("wire version, kind {kind}"),
    };
    let traced = match file.split('-').nth(1).unwrap() {
        "up" => {
            let message = Up::decode(&golden).unwrap();
            [vec![header(message.kind().as_str())], up(&message)].concat_lines()
        }
        "down" => {
            let message = Down::decode(&golden).unwrap();
            [vec![header(message.kind().as_str())], down(&message)].concat_lines()
        }
        "payload" => {
            let (name, lines) = match Payload::decode(&golden).unwrap() {
                Payload::Telemetry(sample) => ("telemetry", trace(&sample)),
                Payload::Alert(alert) => ("alert", trace(&alert)),
            };
            [vec![header(name)], lines].concat_lines()
        }
        _ => {
            let version = Line {
                bytes: golden[..1].to_vec(),
                field: String::new(),
                says: "version of the body".into(),
            };
            let body = match file.split('-').nth(1).unwrap() {
                "quarantine" => trace(&Quarantine::of(&golden).unwrap()),
                "releases" => trace(&Releases::of(&golden).unwrap()),
                "hardware" => trace(&Hardware::of(&golden).unwrap()),
                "report" => trace(&ReleasesReport::of(&golden).unwrap()),
                _ => trace(&Base::of(&golden).unwrap()),
            };
            [vec![version], body].concat_lines()
        }
    };
    assert_eq!(traced.iter().flat_map(|line| line.bytes.clone()).collect::<Vec<_>>(), golden, "{file}");
    shown(&traced)
}

fn up(message: &Up) -> Vec<Line> {
    match message {
        Up::Hello(it) => trace(it),
        Up::Heartbeat(it) => trace(it),
        Up::Records(it) => trace(it),
        Up::ActualState(it) => trace(it),
        Up::AttestationAnswer(it) => trace(it),
        Up::EventLogPart(it) => trace(it),
    }
}

fn down(message: &Down) -> Vec<Line> {
    match message {
        Down::DesiredState(it) => trace(it),
        Down::AttestationChallenge(it) => trace(it),
        Down::HighWaterMarks(it) => trace(it),
        Down::Welcome(it) => trace(it),
        Down::EventLogRequest(it) => trace(it),
    }
}

trait ConcatLines {
    fn concat_lines(self) -> Vec<Line>;
}

impl ConcatLines for [Vec<Line>; 2] {
    fn concat_lines(self) -> Vec<Line> {
        self.into_iter().flatten().collect()
    }
}

fn shown(lines: &[Line]) -> String {
    let mut text = "```text\n".to_owned();
    for line in lines {
        let hex = hex::encode(&line.bytes);
        let mut pieces = hex.as_bytes().chunks(40).map(|piece| std::str::from_utf8(piece).unwrap());
        let first = pieces.next().unwrap_or_default();
        writeln!(text, "{}", format!("{first:<40} {:<28} {}", line.field, line.says).trim_end()).unwrap();
        for piece in pieces {
            writeln!(text, "{piece}").unwrap();
        }
    }
    text + "```\n"
}

/// Inputs and outputs of the three bindings.
pub(crate) fn vectors() -> String {
    let challenge = AttestationChallenge { challenge: [4; 16], nonce: [5; 32], pcr_mask: 0xff };
    let vectors = [
        (
            "enrol",
            "secret 32 × 01, session 32 × 02, csr 16 × 03, event log 8 × 06",
            enrol_binding(&[1; 32], &[2; 32], &[3; 16], Some(&[6; 8])),
        ),
        (
            "enrol",
            "secret empty (no TPM), session 32 × 02, csr 16 × 03, no event log",
            enrol_binding(&[], &[2; 32], &[3; 16], None),
        ),
        ("renew", "nonce 32 × 01, session 32 × 02, csr 16 × 03", renew_binding(&[1; 32], &[2; 32], &[3; 16])),
        ("attest", "challenge 16 × 04, nonce 32 × 05, pcr_mask 0xff", attest_binding(&challenge)),
    ];
    vectors.iter().fold(
        "| binding | input, bytes in hex | SHA-256 |\n|---|---|---|\n".to_owned(),
        |table, (name, input, digest)| format!("{table}| {name} | {input} | `{}` |\n", hex::encode(digest)),
    )
}
