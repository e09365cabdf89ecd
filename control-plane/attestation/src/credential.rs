//! TPM2_MakeCredential: a secret that only the TPM with this endorsement key and this attestation key can read
//! (TPM 2.0 Library, part 1, B.10.3, C.6.3 and 24).

use crate::public::KeyMaterial;
use crate::{AttestationKey, EndorsementKey, Refusal};
use aes::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use p256::elliptic_curve::rand_core::{OsRng, RngCore as _};
use p256::elliptic_curve::sec1::{Coordinates, ToEncodedPoint as _};
use sha2::{Digest as _, Sha256};

/// What the box is sent: the secret, encrypted. The bare secret never travels.
#[derive(Debug, Clone)]
pub struct Credential {
    /// TPMS_ID_OBJECT.
    pub blob: Vec<u8>,
    /// The seed, encrypted to the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// Wraps `secret` so that TPM2_ActivateCredential gives it back only where both keys live in one TPM.
pub fn make_credential(
    ek: &EndorsementKey,
    ak: &AttestationKey,
    secret: &[u8; 32],
) -> Result<Credential, Refusal> {
    let (seed, encrypted_secret) = match &ek.0.material {
        KeyMaterial::Rsa(key) => rsa_seed(key)?,
        KeyMaterial::P256(key) => p256_seed(key)?,
    };
    let name = ak.name().as_bytes();

    let mut identity = sized(secret);
    let aes_key = kdfa(&seed, b"STORAGE\0", name, 128);
    cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(&aes_key[..16], &[0; 16])
        .expect("a 16-byte key and a 16-byte initialisation vector are what AES-128 takes")
        .encrypt(&mut identity);

    let hmac_key = kdfa(&seed, b"INTEGRITY\0", b"", 256);
    let integrity = hmac_sha256(&hmac_key).chain_update(&identity).chain_update(name).finalize().into_bytes();
    let mut blob = sized(&integrity);
    blob.extend_from_slice(&identity);
    Ok(Credential { blob, encrypted_secret })
}

fn rsa_seed(key: &rsa::RsaPublicKey) -> Result<([u8; 32], Vec<u8>), Refusal> {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    // The terminating zero is part of the label.
    let padding = rsa::Oaep::new_with_label::<Sha256, _>("IDENTITY\0");
    let encrypted = key
        .encrypt(&mut OsRng, padding, &seed)
        .map_err(|_| Refusal::Algorithm { what: "endorsement key" })?;
    Ok((seed, encrypted))
}

fn p256_seed(key: &p256::PublicKey) -> Result<([u8; 32], Vec<u8>), Refusal> {
    let ephemeral = p256::ecdh::EphemeralSecret::random(&mut OsRng);
    let (ephemeral_x, ephemeral_y) = affine(&ephemeral.public_key())?;
    let (ek_x, _) = affine(key)?;
    let shared = ephemeral.diffie_hellman(key);
    // KDFe, one round: 256 bits are wanted and SHA-256 gives as many.
    let seed = Sha256::new_with_prefix(1_u32.to_be_bytes())
        .chain_update(shared.raw_secret_bytes())
        .chain_update(b"IDENTITY\0")
        .chain_update(ephemeral_x)
        .chain_update(ek_x)
        .finalize();
    let mut point = sized(&ephemeral_x);
    point.extend(sized(&ephemeral_y));
    Ok((seed.into(), point))
}

fn affine(key: &p256::PublicKey) -> Result<([u8; 32], [u8; 32]), Refusal> {
    match key.to_encoded_point(false).coordinates() {
        Coordinates::Uncompressed { x, y } => Ok(((*x).into(), (*y).into())),
        _ => Err(Refusal::Algorithm { what: "endorsement key" }),
    }
}

fn kdfa(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> [u8; 32] {
    hmac_sha256(key)
        .chain_update(1_u32.to_be_bytes())
        .chain_update(label)
        .chain_update(context)
        .chain_update(bits.to_be_bytes())
        .finalize()
        .into_bytes()
        .into()
}

fn hmac_sha256(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("only seeds, digests and coordinates are sized here");
    [&len.to_be_bytes(), bytes].concat()
}
