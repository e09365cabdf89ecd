//! Bodies of the exchanges over HTTPS: golden files. What a node of an earlier release sends must be read, and what it
//! reads must be in the answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a failure")]

use noderr_protocol::enrol::{
    ActivationChallenge, BeginRequest, BeginResponse, Enrolled, FinishRequest, Register, RenewChallenge,
    RenewChallengeRequest, RenewProof, RenewRequest, ResultKey, ServerTime, TpmKeys, TpmProof,
};
use noderr_protocol::{Base64, HexDigest, IdentityKind, NodeId, RegisterIndex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Do not change these files: boxes in the field send and read them.
fn golden<T: Serialize>(name: &str, value: &T) -> Value {
    let path = format!("{}/tests/golden/json-{name}.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("NODERR_WRITE_MISSING_GOLDEN").is_some() && !Path::new(&path).exists() {
        fs::write(&path, serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path} is missing"));
    serde_json::from_str(&text).unwrap()
}

/// A node sends it: every later control plane reads it, field by field as it was meant.
fn sent_by_nodes<T: Serialize + DeserializeOwned>(name: &str, value: &T) {
    let golden = golden(name, value);
    assert_eq!(serde_json::to_value(value).unwrap(), golden, "{name} is sent otherwise");
    let read: T = serde_json::from_value(golden.clone()).unwrap();
    assert_has(&serde_json::to_value(&read).unwrap(), &golden, name);
    // A control plane that was put back passes over what a newer node adds.
    serde_json::from_value::<T>(with_more(golden)).unwrap();
}

fn with_more(mut body: Value) -> Value {
    body.as_object_mut().unwrap().insert("of_a_later_release".to_owned(), Value::Null);
    body
}

/// A node reads it: every later control plane says at least as much, in the same form.
fn read_by_nodes<T: Serialize + DeserializeOwned>(name: &str, value: &T) {
    let golden = golden(name, value);
    assert_has(&serde_json::to_value(value).unwrap(), &golden, name);
    // And a node passes over what it does not know.
    serde_json::from_value::<T>(with_more(golden)).unwrap();
}

fn assert_has(value: &Value, golden: &Value, what: &str) {
    for (field, expected) in golden.as_object().unwrap() {
        assert_eq!(value.get(field), Some(expected), "{what}: {field}");
    }
}

fn bytes(byte: u8) -> Base64 {
    Base64(vec![byte; 4])
}

fn registers() -> Vec<Register> {
    vec![Register { index: RegisterIndex::new(7).unwrap(), sha256: HexDigest([9; 32]) }]
}

fn result_key() -> ResultKey {
    ResultKey { public: bytes(20), certify: Some(bytes(21)), signature: bytes(22) }
}

#[test]
fn what_nodes_send_is_read_for_ever() {
    let tpm = TpmKeys { ek_cert: Some(bytes(1)), ek_pub: bytes(2), ak_pub: bytes(3), tls_pub: bytes(4) };
    sent_by_nodes("begin-request", &BeginRequest { token: "nit_example".to_owned(), tpm: Some(tpm) });
    sent_by_nodes("begin-request-software", &BeginRequest { token: "nit_example".to_owned(), tpm: None });
    let proof = TpmProof {
        pcrs: registers(),
        event_log: Some(bytes(5)),
        quote: bytes(6),
        quote_sig: bytes(7),
        certify: bytes(8),
        certify_sig: bytes(9),
    };
    let finish = FinishRequest {
        session: bytes(10),
        csr: bytes(11),
        proof: Some(proof),
        possession: None,
        result_key: result_key(),
    };
    sent_by_nodes("finish-request", &finish);
    let software = FinishRequest {
        proof: None,
        possession: Some(bytes(17)),
        result_key: ResultKey { certify: None, ..result_key() },
        ..finish
    };
    sent_by_nodes("finish-request-software", &software);
    let node = NodeId::from_bytes([0xab; 32]);
    sent_by_nodes("renew-challenge-request", &RenewChallengeRequest { node });
    let proof = RenewProof { pcrs: registers(), quote: bytes(12), quote_sig: bytes(13) };
    let renew = RenewRequest {
        node,
        session: bytes(14),
        csr: bytes(15),
        proof: Some(proof),
        possession: bytes(16),
        result_key: result_key(),
    };
    sent_by_nodes("renew-request", &renew);
}

#[test]
fn what_nodes_read_is_said_for_ever() {
    let challenge =
        ActivationChallenge { credential_blob: bytes(1), encrypted_secret: bytes(2), pcr_mask: 0xff };
    let begun = BeginResponse { session: bytes(3), challenge: Some(challenge), expires_in_s: 300 };
    read_by_nodes("begin-response", &begun);
    let enrolled = Enrolled {
        node: NodeId::from_bytes([0xab; 32]),
        kind: IdentityKind::Tpm,
        certificate_chain: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        trust_roots: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        epoch_floor: 1_700_000_000,
        broker: "broker.example.org:8883".to_owned(),
        release_root: None,
    };
    read_by_nodes("enrolled", &enrolled);
    read_by_nodes("renew-challenge", &RenewChallenge { session: bytes(4), nonce: bytes(5), pcr_mask: 0xff });
    read_by_nodes("time", &ServerTime { unix_ms: 1_700_000_000_123 });
}
