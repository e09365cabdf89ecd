//! TPMS_ATTEST and TPMT_SIGNATURE: what a TPM says of its registers and of its keys.

use crate::public::{ALG_ECDSA, ALG_SHA256, Name, coordinate};
use crate::reader::Reader;
use crate::{AttestationKey, Refusal};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq as _;

const GENERATED: u32 = 0xff54_4347;
const ST_CERTIFY: u16 = 0x8017;
const ST_QUOTE: u16 = 0x8018;

/// Register values by index, of the SHA-256 bank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PcrSet(BTreeMap<u8, [u8; 32]>);

impl PcrSet {
    /// A set of registers; refuses an index that comes twice or is above 23.
    pub fn new(values: impl IntoIterator<Item = (u8, [u8; 32])>) -> Result<Self, Refusal> {
        let mut set = BTreeMap::new();
        for (index, value) in values {
            if index > 23 || set.insert(index, value).is_some() {
                return Err(Refusal::PcrSelection);
            }
        }
        Ok(Self(set))
    }

    /// Index and value, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8; 32])> {
        self.0.iter().map(|(index, value)| (*index, value))
    }

    fn mask(&self) -> u32 {
        self.0.keys().fold(0, |mask, index| mask | 1 << index)
    }

    fn digest(&self) -> [u8; 32] {
        self.0.values().fold(Sha256::new(), |hash, value| hash.chain_update(value)).finalize().into()
    }
}

impl AttestationKey {
    /// Checks that this key's TPM had exactly `pcrs`, in answer to `binding`; returns the registers, now
    /// vouched for.
    pub fn check_quote(
        &self,
        attest: &[u8],
        signature: &[u8],
        binding: &[u8; 32],
        pcr_mask: u32,
        pcrs: PcrSet,
    ) -> Result<PcrSet, Refusal> {
        self.check_signature(attest, signature, "quote")?;
        let statement = Statement::parse(attest, "quote", binding)?;
        let Attested::Quote { mask, digest } = statement.attested else {
            return Err(Refusal::NotOfTpm { what: "quote" });
        };
        if mask != pcr_mask || pcrs.mask() != pcr_mask {
            return Err(Refusal::PcrSelection);
        }
        if digest != pcrs.digest() {
            return Err(Refusal::PcrDigest);
        }
        Ok(pcrs)
    }

    /// Checks that the key named `certified` lives in this key's TPM, in answer to `binding`.
    pub fn check_certify(
        &self,
        attest: &[u8],
        signature: &[u8],
        binding: &[u8; 32],
        certified: &Name,
    ) -> Result<(), Refusal> {
        self.check_signature(attest, signature, "certification")?;
        match Statement::parse(attest, "certification", binding)?.attested {
            Attested::Certify { name } if name == certified.as_bytes() => Ok(()),
            Attested::Certify { .. } => Err(Refusal::CertifiedName),
            Attested::Quote { .. } => Err(Refusal::NotOfTpm { what: "certification" }),
        }
    }

    fn check_signature(&self, attest: &[u8], signature: &[u8], what: &'static str) -> Result<(), Refusal> {
        let mut reader = Reader::new(signature, what)?;
        if reader.u16()? != ALG_ECDSA || reader.u16()? != ALG_SHA256 {
            return Err(Refusal::Algorithm { what });
        }
        let (r, s) = (reader.sized()?, reader.sized()?);
        let (r, s) = (coordinate(r, &reader)?, coordinate(s, &reader)?);
        reader.end()?;
        let signature = Signature::from_scalars(r, s).map_err(|_| Refusal::Signature { what })?;
        self.key.verify(attest, &signature).map_err(|_| Refusal::Signature { what })
    }
}

enum Attested<'a> {
    Quote { mask: u32, digest: &'a [u8] },
    Certify { name: &'a [u8] },
}

struct Statement<'a> {
    attested: Attested<'a>,
}

impl<'a> Statement<'a> {
    fn parse(bytes: &'a [u8], what: &'static str, binding: &[u8; 32]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes, what)?;
        if reader.u32()? != GENERATED {
            return Err(Refusal::NotOfTpm { what });
        }
        let kind = reader.u16()?;
        reader.sized()?; // qualifiedSigner: the key is already known by its name
        let extra_data = reader.sized()?;
        if !bool::from(extra_data.ct_eq(binding)) {
            return Err(Refusal::Nonce { what });
        }
        reader.u64()?; // clock
        reader.u64()?; // resetCount, restartCount
        reader.u8()?; // safe
        reader.u64()?; // firmwareVersion
        let attested = match kind {
            ST_QUOTE => Attested::Quote { mask: read_selection(&mut reader)?, digest: reader.sized()? },
            ST_CERTIFY => {
                let name = reader.sized()?;
                reader.sized()?; // qualifiedName
                Attested::Certify { name }
            }
            _ => return Err(Refusal::NotOfTpm { what }),
        };
        reader.end()?;
        Ok(Self { attested })
    }
}

/// Reads a selection of registers as a mask; takes one bank only, SHA-256.
fn read_selection(reader: &mut Reader<'_>) -> Result<u32, Refusal> {
    if reader.u32()? != 1 || reader.u16()? != ALG_SHA256 {
        return Err(Refusal::PcrSelection);
    }
    let len = usize::from(reader.u8()?);
    if len > 4 {
        return Err(reader.malformed());
    }
    let bytes = reader.take(len)?;
    Ok(bytes.iter().enumerate().fold(0, |mask, (i, byte)| mask | u32::from(*byte) << (8 * i)))
}
