//! What papers may not be.

use super::*;
use crate::SoftwareKey;
use noderr_protocol::{IdentityKind, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};

const NOW: i64 = 1_800_000_000_000;

struct Network {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Network {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "root");
        let root = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Papers of a node for a key, good for a day around [`NOW`] moved by `days`.
    fn papers(&self, node: NodeId, keys: &NodeKeys, days: i64) -> Enrolment {
        let request = crate::certificate_request(keys).unwrap();
        let mut request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        let begins = time::OffsetDateTime::from_unix_timestamp(NOW / 1000 + days * 86_400).unwrap();
        request.params.not_before = begins - time::Duration::hours(12);
        request.params.not_after = begins + time::Duration::hours(12);
        request.params.distinguished_name.push(DnType::CommonName, node.to_string());
        Enrolment {
            node,
            kind: IdentityKind::Software,
            certificate_chain: request.signed_by(&self.issuer).unwrap().pem(),
            trust_roots: self.root.clone(),
            broker: "broker.example:8883".to_owned(),
            epoch_floor: 0,
            release_root: None,
        }
    }
}

fn keys(folder: &tempfile::TempDir) -> NodeKeys {
    let key = |name: &str| SoftwareKey::open_or_create(&folder.path().join(name)).unwrap();
    NodeKeys::Software { tls: key("tls"), results: key("results") }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

#[test]
fn papers_that_cannot_work_are_refused_whatever_is_wrong_with_them() {
    let (mine, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (keys, other_keys) = (keys(&mine), keys(&others));
    let (network, other_network) = (Network::new(), Network::new());
    let good = network.papers(node(1), &keys, 0);
    assert_eq!(Papers::issued(good.clone(), &keys, NOW).unwrap().broker.to_string(), "broker.example:8883");
    let wrong = [
        ("no roots", Enrolment { trust_roots: String::new(), ..good.clone() }),
        ("torn roots", Enrolment { trust_roots: good.trust_roots[..80].to_owned(), ..good.clone() }),
        ("roots of another network", Enrolment { trust_roots: other_network.root, ..good.clone() }),
        ("no certificate", Enrolment { certificate_chain: String::new(), ..good.clone() }),
        ("a certificate for another key", network.papers(node(1), &other_keys, 0)),
        ("a certificate of another node", Enrolment { node: node(2), ..good.clone() }),
        ("a certificate of the past", network.papers(node(1), &keys, -2)),
        ("a certificate of the future", network.papers(node(1), &keys, 2)),
        ("no broker", Enrolment { broker: String::new(), ..good.clone() }),
        ("no port", Enrolment { broker: "broker.example".to_owned(), ..good.clone() }),
    ];
    for (what, papers) in wrong {
        assert!(Papers::issued(papers, &keys, NOW).is_err(), "{what}");
    }
}

#[test]
fn a_renewal_changes_neither_the_node_nor_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (network, keys) = (Network::new(), keys(&folder));
    let before = network.papers(node(1), &keys, 0);
    let renewed = |papers| Papers::issued(papers, &keys, NOW).unwrap().succeed(&before);
    assert!(renewed(network.papers(node(1), &keys, 0)).is_ok());
    assert!(renewed(network.papers(node(2), &keys, 0)).is_err());
    assert!(renewed(Enrolment { kind: IdentityKind::Tpm, ..before.clone() }).is_err());
}

#[test]
fn kept_papers_are_good_enough_to_ask_for_new_ones_if_there_is_anybody_to_trust() {
    let folder = tempfile::tempdir().unwrap();
    let (network, keys) = (Network::new(), keys(&folder));
    let good = network.papers(node(1), &keys, 0);
    let spoilt =
        Enrolment { trust_roots: "x".into(), certificate_chain: "y".into(), broker: "z".into(), ..good };
    let configured = TrustRoots::from_pem(&network.root).unwrap();
    assert!(Papers::of(spoilt.clone()).is_err());
    assert!(Papers::salvaged(spoilt.clone(), None).is_none());
    assert_eq!(Papers::salvaged(spoilt, Some(&configured)).unwrap().enrolment.node, node(1));
}
