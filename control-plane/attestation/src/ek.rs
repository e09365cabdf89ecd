//! The endorsement certificate: does a TPM vendor vouch for this key?

use crate::Refusal;
use crate::public::KeyMaterial;
use p256::elliptic_curve::sec1::FromEncodedPoint as _;
use rsa::BigUint;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

const NV_PADDING: [u8; 2] = [0x00, 0xff];

/// Vendor certificates that an endorsement certificate may lead to. Each certificate is trusted as it stands,
/// so a vendor's intermediates may be listed beside, or instead of, the vendor's root.
#[derive(Debug, Clone, Default)]
pub struct VendorRoots {
    anchors: Vec<TrustAnchor<'static>>,
}

/// A certificate that led to a vendor root.
#[derive(Debug, Clone)]
pub struct EkCertificate {
    pub(crate) material: KeyMaterial,
}

impl VendorRoots {
    /// Reads DER certificates; refuses all if one of them cannot be read.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, Refusal> {
        let anchors = certificates
            .iter()
            .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                Refusal::EkChain(format!("a configured vendor certificate is unreadable: {error}"))
            })?;
        Ok(Self { anchors })
    }

    /// How many vendor certificates are trusted.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether no vendor is trusted at all.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Checks the chain at time `now`; padding behind the certificate, as TPMs store it, is allowed.
    pub fn check(&self, der: &[u8], now: UnixTime) -> Result<EkCertificate, Refusal> {
        let malformed = |_| Refusal::Malformed { what: "endorsement certificate" };
        let (rest, certificate) = X509Certificate::from_der(der).map_err(malformed)?;
        if !rest.iter().all(|byte| NV_PADDING.contains(byte)) {
            return Err(Refusal::Malformed { what: "endorsement certificate" });
        }
        let der = CertificateDer::from(&der[..der.len() - rest.len()]);

        // Intermediates of vendors do not carry the EK usage; the leaf must.
        let usage = webpki::KeyUsage::required_if_present(TCG_KP_EK_CERTIFICATE);
        webpki::EndEntityCert::try_from(&der)
            .and_then(|leaf| {
                leaf.verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &self.anchors,
                    &[],
                    now,
                    usage,
                    None,
                    None,
                )
                .map(drop)
            })
            .map_err(|error| Refusal::EkChain(error.to_string()))?;
        let is_ek = certificate
            .extended_key_usage()
            .map_err(malformed_extension)?
            .is_some_and(|usage| usage.value.other.contains(&oid!(2.23.133.8.1)));
        if !is_ek {
            return Err(Refusal::EkChain("the certificate is not one of an endorsement key".to_owned()));
        }
        Ok(EkCertificate { material: material_of(&certificate)? })
    }
}

/// DER content of 2.23.133.8.1.
const TCG_KP_EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

fn malformed_extension(_: x509_parser::error::X509Error) -> Refusal {
    Refusal::Malformed { what: "endorsement certificate" }
}

fn material_of(certificate: &X509Certificate<'_>) -> Result<KeyMaterial, Refusal> {
    let refused = || Refusal::Algorithm { what: "endorsement certificate" };
    match certificate.public_key().parsed().map_err(malformed_extension)? {
        PublicKey::RSA(key) => {
            let modulus = BigUint::from_bytes_be(key.modulus);
            let exponent = BigUint::from_bytes_be(key.exponent);
            rsa::RsaPublicKey::new(modulus, exponent).map(KeyMaterial::Rsa).map_err(|_| refused())
        }
        PublicKey::EC(point) => {
            let point = p256::EncodedPoint::from_bytes(point.data()).map_err(|_| refused())?;
            let key: Option<_> = p256::PublicKey::from_encoded_point(&point).into();
            key.map(KeyMaterial::P256).ok_or_else(refused)
        }
        _ => Err(refused()),
    }
}
