//! The certificate authority: one self-signed root, node certificates and server certificates below it.

use crate::key::{CaKey, SharedKey};
use crate::{Csr, NodeSubject};
use atomic_write_file::AtomicWriteFile;
use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// How long before its making a certificate is valid already, because clocks differ.
const BACKDATE: Duration = Duration::from_secs(300);
const ROOT_VALIDITY: Duration = Duration::from_secs(30 * 365 * 86_400);
const ROOT_FILE: &str = "ca.pem";

/// The network's certificate authority.
pub struct Authority {
    issuer: Issuer<'static, SharedKey>,
    root: CertificateDer<'static>,
    root_pem: String,
}

/// A certificate and what the database keeps of it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The certificate and the root, PEM, leaf first.
    pub chain_pem: String,
    /// The serial number, positive and 16 bytes long.
    pub serial: [u8; 16],
    /// Valid from, seconds since the Unix epoch.
    pub not_before: i64,
    /// Valid until, seconds since the Unix epoch.
    pub not_after: i64,
}

/// A certificate for the control plane itself or for an external broker, with its key.
pub struct ServerIdentity {
    /// The certificate and the root, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, PKCS#8; this crate does not store it.
    pub key: rustls_pki_types::PrivateKeyDer<'static>,
}

/// Why an authority cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("cannot read or write {path}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error("{path} has mode {mode:o}: a CA key that others can read must be replaced, or chmod 600 if nobody did", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// Not a key.
    #[error("{path} does not hold a usable private key", path = path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// The root certificate is of another key.
    #[error("{path} is not a certificate of this authority's key: restore both from the same backup", path = path.display())]
    Mismatch {
        /// Which file.
        path: PathBuf,
    },
    /// The root certificate could not be made or read.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
#[error("the authority could not sign: {0}")]
pub struct IssueError(#[from] rcgen::Error);

impl Authority {
    /// Opens the authority whose root certificate lies in `folder`; makes the root at first start.
    pub fn open(folder: &Path, network: &str, key: Arc<dyn CaKey>, now: i64) -> Result<Self, OpenError> {
        let path = folder.join(ROOT_FILE);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = root_params(network, now)?.self_signed(&SharedKey(key.clone()))?.pem();
                let mut file = AtomicWriteFile::open(&path).map_err(io)?;
                file.write_all(pem.as_bytes()).map_err(io)?;
                file.commit().map_err(io)?;
                pem
            }
            Err(error) => return Err(io(error)),
        };
        let root = pem::parse(&pem).map_err(|_| OpenError::Mismatch { path: path.clone() })?;
        let root = CertificateDer::from(root.into_contents());
        let (_, parsed) = x509_parser::parse_x509_certificate(&root)
            .map_err(|_| OpenError::Mismatch { path: path.clone() })?;
        if *parsed.public_key().subject_public_key.data != *key.der_bytes() {
            return Err(OpenError::Mismatch { path });
        }
        let issuer = Issuer::from_ca_cert_der(&root, SharedKey(key))?;
        Ok(Self { issuer, root_pem: pem, root })
    }

    /// The root, which every party trusts.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The root as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A client certificate for a node's proven key.
    pub fn issue_node(
        &self,
        subject: NodeSubject,
        csr: &Csr,
        now: i64,
        validity: Duration,
    ) -> Result<Issued, IssueError> {
        let mut params = leaf_params(ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name = subject.to_name();
        self.issue(params, &csr.key, now, validity)
    }

    /// A server certificate for `names` (host names and addresses), with a new key.
    pub fn issue_server(
        &self,
        names: &[String],
        now: i64,
        validity: Duration,
    ) -> Result<ServerIdentity, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.distinguished_name.push(DnType::CommonName, "noderr control plane");
        let issued = self.issue(params, &key, now, validity)?;
        let chain = vec![issued.der, self.root.clone()];
        Ok(ServerIdentity { chain, key: key.into() })
    }

    /// A client certificate for the control plane itself, for an external broker, with a new key.
    pub fn issue_service(
        &self,
        name: &str,
        now: i64,
        validity: Duration,
    ) -> Result<ServerIdentity, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::CommonName, name);
        let issued = self.issue(params, &key, now, validity)?;
        Ok(ServerIdentity { chain: vec![issued.der, self.root.clone()], key: key.into() })
    }

    /// The certificate revocation list, PEM, for brokers that read such a list.
    pub fn revocation_list(
        &self,
        revoked: &[([u8; 16], i64)],
        number: u64,
        now: i64,
        validity: Duration,
    ) -> Result<String, IssueError> {
        let list = CertificateRevocationListParams {
            this_update: at(now),
            next_update: at(now) + validity,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|(serial, since)| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: at(*since),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl rcgen::PublicKeyData,
        now: i64,
        validity: Duration,
    ) -> Result<Issued, IssueError> {
        let mut serial = [0; 16];
        rand::rng().fill_bytes(&mut serial);
        // Positive and without leading zeros, so that the encoded form has one spelling.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        // A tenth of a short life, so that a fresh certificate is not an old one.
        params.not_before = at(now) - BACKDATE.min(validity / 10);
        params.not_after = at(now) + validity;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Issued {
            chain_pem: format!("{}{}", certificate.pem(), self.root_pem),
            der: certificate.der().clone(),
            serial,
            not_before: params.not_before.unix_timestamp(),
            not_after: params.not_after.unix_timestamp(),
        })
    }
}

fn root_params(network: &str, now: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("{network} root"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(now) - BACKDATE;
    params.not_after = at(now) + ROOT_VALIDITY;
    Ok(params)
}

fn leaf_params(usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

fn at(unix_seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
