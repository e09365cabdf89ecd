//! What relying parties depend on: chains that verify, subjects that the requester cannot choose, keys that
//! nobody else can read.

use crate::{Authority, Csr, FileKey, NodeCertificate, NodeSubject, OpenError};
use noderr_protocol::{IdentityKind, NodeId};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = 1_800_000_000;
const DAY: Duration = Duration::from_secs(86_400);

fn authority(folder: &Path) -> Authority {
    let key = Arc::new(FileKey::open_or_create(&folder.join("ca.key")).unwrap());
    Authority::open(folder, "testnet", key, NOW).unwrap()
}

fn subject() -> NodeSubject {
    NodeSubject { node: NodeId::from_bytes([7; 32]), kind: IdentityKind::Tpm }
}

fn csr_naming(name: &str) -> Csr {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    Csr::parse(params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
}

fn verify(ca: &Authority, leaf: &[u8], at: i64, usage: webpki::KeyUsage) -> Result<(), webpki::Error> {
    let anchors = [webpki::anchor_from_trusted_cert(ca.root()).unwrap()];
    let der = leaf.into();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.unsigned_abs()));
    webpki::EndEntityCert::try_from(&der)?
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], at, usage, None, None)
        .map(drop)
}

#[test]
fn a_node_certificate_verifies_names_its_node_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority(folder.path());
    let issued = ca.issue_node(subject(), &csr_naming("x"), NOW, DAY).unwrap();
    verify(&ca, &issued.der, NOW, webpki::KeyUsage::client_auth()).unwrap();
    assert_eq!(
        NodeCertificate::read(&issued.der).unwrap(),
        NodeCertificate { subject: subject(), serial: issued.serial, not_after: issued.not_after }
    );
    assert!(verify(&ca, &issued.der, NOW + 86_401, webpki::KeyUsage::client_auth()).is_err(), "expired");
    assert!(verify(&ca, &issued.der, NOW, webpki::KeyUsage::server_auth()).is_err(), "a node is no server");
}

#[test]
fn the_subject_is_never_taken_from_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority(folder.path());
    let stranger = NodeId::from_bytes([9; 32]);
    let issued = ca.issue_node(subject(), &csr_naming(&stranger.to_string()), NOW, DAY).unwrap();
    assert_eq!(NodeCertificate::read(&issued.der).unwrap().subject.node, subject().node);
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let mut der = request.der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(Csr::parse(&der).is_err());
    for len in 0..der.len() {
        assert!(Csr::parse(&der[..len]).is_err(), "truncated at {len}");
    }
}

#[test]
fn the_same_folder_is_the_same_authority() {
    let folder = tempfile::tempdir().unwrap();
    let issued = authority(folder.path()).issue_node(subject(), &csr_naming("x"), NOW, DAY).unwrap();
    verify(&authority(folder.path()), &issued.der, NOW, webpki::KeyUsage::client_auth()).unwrap();
}

#[test]
fn an_exposed_key_and_a_foreign_root_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(authority(folder.path()));
    let key_file = folder.path().join("ca.key");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(FileKey::open_or_create(&key_file), Err(OpenError::Exposed { mode: 0o644, .. })));

    let other = Arc::new(KeyPair::generate().unwrap());
    assert!(matches!(Authority::open(folder.path(), "testnet", other, NOW), Err(OpenError::Mismatch { .. })));
}

#[test]
fn a_new_key_file_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.key");
    FileKey::open_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_revocation_list_revokes_just_what_it_lists() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority(folder.path());
    let gone = ca.issue_node(subject(), &csr_naming("x"), NOW, DAY).unwrap();
    let kept = ca.issue_node(subject(), &csr_naming("x"), NOW, DAY).unwrap();
    let pem = ca.revocation_list(&[(gone.serial, NOW)], 1, NOW, DAY).unwrap();
    let der = CertificateRevocationListDer::from(pem::parse(pem).unwrap().into_contents());
    let list = webpki::OwnedCertRevocationList::from_der(&der).unwrap();
    use webpki::CertRevocationList;
    let list = CertRevocationList::from(list);
    assert!(list.find_serial(&gone.serial).unwrap().is_some());
    assert!(list.find_serial(&kept.serial).unwrap().is_none());
}
