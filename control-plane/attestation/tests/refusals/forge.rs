//! A TPM in Rust that makes any statement a test asks for, true or not, and a vendor that certifies the TPM.

use aes::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use noderr_attestation::{AttestationKey, Credential, EndorsementKey, Name, PcrSet, TlsKey};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::rand_core::OsRng;
use p256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

pub(crate) mod attributes {
    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const ORIGIN: u32 = 1 << 5;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;
    const INSIDE: u32 = FIXED_TPM | FIXED_PARENT | ORIGIN;
    pub(crate) const AK: u32 = INSIDE | RESTRICTED | SIGN;
    pub(crate) const TLS: u32 = INSIDE | SIGN;
    pub(crate) const EK: u32 = INSIDE | RESTRICTED | DECRYPT;
}

pub(crate) struct Forge {
    ek_secret: p256::SecretKey,
    ak_secret: SigningKey,
    tls_secret: SigningKey,
    pub(crate) ek_public: Vec<u8>,
    pub(crate) ak_public: Vec<u8>,
    tls_public: Vec<u8>,
}

pub(crate) struct Evidence {
    pub(crate) attest: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// TPMT_PUBLIC of a P-256 key.
fn area(key: &p256::PublicKey, attributes: u32, storage: bool) -> Vec<u8> {
    let point = key.to_encoded_point(false);
    let mut area = vec![0x00, 0x23, 0x00, 0x0b];
    area.extend(attributes.to_be_bytes());
    area.extend(sized(&[]));
    if storage {
        area.extend([0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10]);
    } else {
        area.extend([0x00, 0x10, 0x00, 0x18, 0x00, 0x0b]);
    }
    area.extend([0x00, 0x03, 0x00, 0x10]);
    area.extend(sized(point.x().unwrap()));
    area.extend(sized(point.y().unwrap()));
    area
}

fn public(key: &SigningKey) -> p256::PublicKey {
    key.verifying_key().into()
}

impl Forge {
    pub(crate) fn new() -> Self {
        let ek_secret = p256::SecretKey::random(&mut OsRng);
        let (ak_secret, tls_secret) = (SigningKey::random(&mut OsRng), SigningKey::random(&mut OsRng));
        Self {
            ek_public: area(&ek_secret.public_key(), attributes::EK, true),
            ak_public: area(&public(&ak_secret), attributes::AK, false),
            tls_public: area(&public(&tls_secret), attributes::TLS, false),
            ek_secret,
            ak_secret,
            tls_secret,
        }
    }

    pub(crate) fn ek(&self) -> EndorsementKey {
        EndorsementKey::parse(&self.ek_public).unwrap()
    }

    pub(crate) fn ak(&self) -> AttestationKey {
        AttestationKey::parse(&self.ak_public).unwrap()
    }

    pub(crate) fn tls(&self) -> TlsKey {
        TlsKey::parse(&self.tls_public, &self.ak()).unwrap()
    }

    pub(crate) fn ek_area(&self, attributes: u32) -> Vec<u8> {
        area(&self.ek_secret.public_key(), attributes, true)
    }

    pub(crate) fn ak_area(&self, attributes: u32) -> Vec<u8> {
        area(&public(&self.ak_secret), attributes, false)
    }

    pub(crate) fn tls_area(&self, attributes: u32) -> Vec<u8> {
        area(&public(&self.tls_secret), attributes, false)
    }

    /// TPMT_SIGNATURE by the attestation key.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.ak_secret.sign(message);
        let (r, s) = signature.split_bytes();
        [&[0x00, 0x18, 0x00, 0x0b][..], &sized(&r), &sized(&s)].concat()
    }

    fn attest(&self, kind: u16, binding: &[u8; 32], attested: &[u8]) -> Evidence {
        let mut attest = vec![0xff, 0x54, 0x43, 0x47];
        attest.extend(kind.to_be_bytes());
        attest.extend(sized(b"signer"));
        attest.extend(sized(binding));
        attest.extend([0; 8 + 4 + 4 + 1 + 8]);
        attest.extend(attested);
        let signature = self.sign(&attest);
        Evidence { attest, signature }
    }

    pub(crate) fn quote(&self, binding: &[u8; 32], mask: u32, pcrs: &PcrSet) -> Evidence {
        let [low, middle, high, _] = mask.to_le_bytes();
        let digest = pcrs.iter().fold(Sha256::new(), |hash, (_, value)| hash.chain_update(value)).finalize();
        let selection = [0, 0, 0, 1, 0x00, 0x0b, 3, low, middle, high];
        self.attest(0x8018, binding, &[&selection[..], &sized(&digest)].concat())
    }

    pub(crate) fn certify(&self, binding: &[u8; 32]) -> Evidence {
        let name = self.tls().name().as_bytes().to_vec();
        self.attest(0x8017, binding, &[sized(&name), sized(b"qualified")].concat())
    }

    /// TPM2_ActivateCredential, for an object of this name.
    pub(crate) fn activate(&self, credential: &Credential, name: &Name) -> Option<Vec<u8>> {
        let point = &credential.encrypted_secret;
        let mut sec1 = vec![4];
        sec1.extend(&point[2..34]);
        sec1.extend(&point[36..68]);
        let ephemeral =
            p256::PublicKey::from_encoded_point(&p256::EncodedPoint::from_bytes(sec1).ok()?).into_option()?;
        let shared = p256::ecdh::diffie_hellman(self.ek_secret.to_nonzero_scalar(), ephemeral.as_affine());
        let own = self.ek_secret.public_key().to_encoded_point(false);
        let seed = Sha256::new_with_prefix(1_u32.to_be_bytes())
            .chain_update(shared.raw_secret_bytes())
            .chain_update(b"IDENTITY\0")
            .chain_update(&point[2..34])
            .chain_update(own.x()?)
            .finalize();
        let mac = |key: &[u8]| <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).unwrap();
        let kdf = |label: &[u8], context: &[u8], bits: u32| {
            mac(&seed)
                .chain_update(1_u32.to_be_bytes())
                .chain_update(label)
                .chain_update(context)
                .chain_update(bits.to_be_bytes())
                .finalize()
                .into_bytes()
        };
        let (integrity, identity) = credential.blob[2..].split_at(32);
        let expected =
            mac(&kdf(b"INTEGRITY\0", b"", 256)).chain_update(identity).chain_update(name.as_bytes());
        expected.verify_slice(integrity).ok()?;
        let mut plain = identity.to_vec();
        let key = kdf(b"STORAGE\0", name.as_bytes(), 128);
        cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(&key[..16], &[0; 16])
            .unwrap()
            .decrypt(&mut plain);
        Some(plain[2..].to_vec())
    }
}

/// A TPM vendor.
pub(crate) struct Vendor {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { key, certificate }
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// A certificate for the endorsement key of a TPM, either as such or as an ordinary client certificate.
    pub(crate) fn certify(&self, forge: &Forge, as_endorsement_key: bool) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = if as_endorsement_key {
            vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])]
        } else {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        };
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 23, 133, 2, 16], vec![5, 0])];
        let point = forge.ek_secret.public_key().to_encoded_point(false).as_bytes().to_vec();
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).unwrap();
        params.signed_by(&PublicPoint(point), &issuer).unwrap().der().to_vec()
    }
}

struct PublicPoint(Vec<u8>);

impl rcgen::PublicKeyData for PublicPoint {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
