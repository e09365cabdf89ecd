//! TPMT_PUBLIC: the public area of a TPM key, its attributes and its name.

use crate::Refusal;
use crate::reader::Reader;
use p256::elliptic_curve::sec1::FromEncodedPoint;
use rsa::BigUint;
use sha2::{Digest, Sha256};

pub(crate) const ALG_RSA: u16 = 0x0001;
pub(crate) const ALG_SHA256: u16 = 0x000B;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_ECDSA: u16 = 0x0018;
pub(crate) const ALG_ECC: u16 = 0x0023;
const ALG_AES: u16 = 0x0006;
const ALG_RSAES: u16 = 0x0015;
const ALG_ECDAA: u16 = 0x001A;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;

/// A key's name, to which the TPM binds credentials and certifications: the algorithm and the hash of the
/// public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// The bytes as the TPM writes them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The key material, of the two kinds that are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyMaterial {
    Rsa(rsa::RsaPublicKey),
    P256(p256::PublicKey),
}

/// A parsed public area. Nothing about it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicArea {
    pub(crate) attributes: Attributes,
    pub(crate) material: KeyMaterial,
    pub(crate) signs_ecdsa_sha256: bool,
    pub(crate) aes128_cfb: bool,
    name: Name,
}

/// TPMA_OBJECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes(u32);

impl Attributes {
    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;

    pub(crate) const fn has(self, all: u32) -> bool {
        self.0 & all == all
    }

    pub(crate) const fn lacks(self, all: u32) -> bool {
        self.0 & all == 0
    }
}

impl PublicArea {
    /// Reads TPMT_PUBLIC; accepts only keys whose name is made with SHA-256.
    pub fn parse(bytes: &[u8], what: &'static str) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes, what)?;
        let kind = reader.u16()?;
        if reader.u16()? != ALG_SHA256 {
            return Err(Refusal::Algorithm { what });
        }
        let attributes = Attributes(reader.u32()?);
        reader.sized()?; // authPolicy: part of the name, of no other meaning here
        let aes128_cfb = read_symmetric(&mut reader)?;
        let signs_ecdsa_sha256 = read_scheme(&mut reader)?;
        let material = match kind {
            ALG_RSA => read_rsa(&mut reader, what)?,
            ALG_ECC => read_p256(&mut reader, what)?,
            _ => return Err(Refusal::Algorithm { what }),
        };
        reader.end()?;
        let mut name = ALG_SHA256.to_be_bytes().to_vec();
        name.extend_from_slice(&Sha256::digest(bytes));
        Ok(Self { attributes, material, signs_ecdsa_sha256, aes128_cfb, name: Name(name) })
    }

    /// The key's name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<bool, Refusal> {
    match reader.u16()? {
        ALG_NULL => Ok(false),
        algorithm => {
            let (bits, mode) = (reader.u16()?, reader.u16()?);
            Ok(algorithm == ALG_AES && bits == 128 && mode == ALG_CFB)
        }
    }
}

fn read_scheme(reader: &mut Reader<'_>) -> Result<bool, Refusal> {
    match reader.u16()? {
        ALG_NULL | ALG_RSAES => Ok(false),
        ALG_ECDAA => {
            reader.take(4)?;
            Ok(false)
        }
        scheme => Ok(reader.u16()? == ALG_SHA256 && scheme == ALG_ECDSA),
    }
}

fn read_rsa(reader: &mut Reader<'_>, what: &'static str) -> Result<KeyMaterial, Refusal> {
    let bits = reader.u16()?;
    let exponent = match reader.u32()? {
        0 => 65_537,
        other => other,
    };
    let modulus = reader.sized()?;
    if bits != 2048 || modulus.len() != 256 || exponent != 65_537 {
        return Err(Refusal::Algorithm { what });
    }
    rsa::RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into())
        .map(KeyMaterial::Rsa)
        .map_err(|_| reader.malformed())
}

fn read_p256(reader: &mut Reader<'_>, what: &'static str) -> Result<KeyMaterial, Refusal> {
    let curve = reader.u16()?;
    if reader.u16()? != ALG_NULL {
        reader.u16()?;
    }
    let (x, y) = (reader.sized()?, reader.sized()?);
    if curve != CURVE_P256 {
        return Err(Refusal::Algorithm { what });
    }
    let (x, y) = (coordinate(x, reader)?, coordinate(y, reader)?);
    let point = p256::EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
    Option::from(p256::PublicKey::from_encoded_point(&point))
        .map(KeyMaterial::P256)
        .ok_or_else(|| reader.malformed())
}

/// Puts back the leading zeros of a coordinate that a TPM may drop.
pub(crate) fn coordinate(bytes: &[u8], reader: &Reader<'_>) -> Result<[u8; 32], Refusal> {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(bytes.len()).ok_or_else(|| reader.malformed())?;
    padded[start..].copy_from_slice(bytes);
    Ok(padded)
}
