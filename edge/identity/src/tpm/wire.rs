//! What `noderr-node` and `noderr-tpm` say to each other, through the pipes between them: frames of postcard, each after its length.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};

/// More than the longest of both sides' words: a vendor's certificate takes two KiB. Less than a pipe holds, so that whoever says
/// a frame never waits for a reader.
const LONGEST: usize = 32 * 1024;

/// Which of the unrestricted keys signs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Signer {
    /// The TLS key.
    Tls,
    /// The key of results.
    Results,
}

/// What is asked of the TPM. Each kind has an answer of its own.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The public keys: [`PublicKeys`].
    PublicKeys {
        /// Whether keys that are missing are made.
        create: bool,
    },
    /// ECDSA over a digest: DER, `Vec<u8>`.
    Sign {
        /// Which key signs.
        signer: Signer,
        /// SHA-256 of what is signed.
        digest: [u8; 32],
    },
    /// TPM2_ActivateCredential: the secret, `Vec<u8>`.
    Activate {
        /// The credential, TPM2B_ID_OBJECT's content.
        blob: Vec<u8>,
        /// The seed, TPM2B_ENCRYPTED_SECRET's content.
        secret: Vec<u8>,
    },
    /// A quote: [`Evidence`] and the values of the registers.
    Quote {
        /// What the quote is bound to.
        binding: [u8; 32],
        /// Which registers.
        pcr_mask: u32,
    },
    /// A key's TPMT_PUBLIC, and [`Evidence`] that the key lives in the TPM.
    Certify {
        /// Which key.
        signer: Signer,
        /// What the certification is bound to.
        binding: [u8; 32],
    },
}

/// The public side of the box's TPM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicKeys {
    /// The vendor's certificate of the endorsement key, where the TPM carries one.
    pub ek_cert: Option<Vec<u8>>,
    /// Endorsement key, TPMT_PUBLIC.
    pub ek: Vec<u8>,
    /// Attestation key, TPMT_PUBLIC.
    pub ak: Vec<u8>,
    /// TLS key, TPMT_PUBLIC.
    pub tls: Vec<u8>,
    /// TLS key, uncompressed SEC1.
    pub tls_sec1: Vec<u8>,
}

/// A statement of the TPM with the attestation key's signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evidence {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

/// Says one thing.
pub fn send<T: Serialize>(to: &mut impl Write, said: &T) -> io::Result<()> {
    let bytes = postcard::to_allocvec(said).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "too much to say at once"))?;
    to.write_all(&[&length.to_le_bytes()[..], &bytes].concat())?;
    to.flush()
}

/// Hears one thing; `None` where the other has nothing more to say.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    hear(from)?.map(|bytes| read(&bytes)).transpose()
}

/// Hears one thing without reading it.
pub(super) fn hear(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "a frame that is too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Reads what was heard.
pub(super) fn read<T: DeserializeOwned>(heard: &[u8]) -> io::Result<T> {
    postcard::from_bytes(heard).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_until_there_is_nothing_more() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Request::PublicKeys { create: true }).unwrap();
        send(&mut pipe, &Request::Activate { blob: vec![1; 2000], secret: vec![2; 300] }).unwrap();
        let mut pipe = pipe.as_slice();
        assert!(matches!(receive(&mut pipe).unwrap(), Some(Request::PublicKeys { create: true })));
        let Some(Request::Activate { blob, secret }) = receive(&mut pipe).unwrap() else { panic!("another") };
        assert_eq!((blob.len(), secret.len()), (2000, 300));
        assert!(receive::<Request>(&mut pipe).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_is_neither_said_nor_heard() {
        let mut pipe = Vec::new();
        assert!(send(&mut pipe, &vec![0_u8; LONGEST]).is_err());
        assert!(pipe.is_empty());
        assert!(receive::<Request>(&mut [255; 8].as_slice()).is_err());
    }
}
