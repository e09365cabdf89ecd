//! What the TPM can prove: its public keys with the vendor's certificate, signatures, quotes, certifications.

use crate::failure::Failure;
use crate::keys::Keys;
use noderr_identity::tpm::wire::{Evidence, PublicKeys};
use noderr_protocol::PcrValue;
use p256::ecdsa::Signature as EcdsaSignature;
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek, pcr};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{SessionType, tss};
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Data, Digest, EncryptedSecret, HashcheckTicket, IdObject, Nonce, PcrSelectionList,
    PcrSelectionListBuilder, PcrSlot, Public, Signature, SignatureScheme, SymmetricDefinition,
};
use tss_esapi::traits::Marshall as _;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

const RSA: AsymmetricAlgorithmSelection = AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048);
const ECC: AsymmetricAlgorithmSelection = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);

pub(crate) fn public_keys(context: &mut Context, keys: Keys) -> Result<PublicKeys, Failure> {
    let (algorithm, ek_cert) = endorsement(context);
    let ek_handle = ek::create_ek_object_2(context, algorithm, None)?;
    let ek_public = context.read_public(ek_handle);
    context.flush_context(ObjectHandle::from(ek_handle))?;
    let (ek_public, ..) = ek_public?;
    let (ak, ..) = context.read_public(keys.ak)?;
    let (tls, ..) = context.read_public(keys.tls)?;
    Ok(PublicKeys {
        ek_cert,
        ek: ek_public.marshall()?,
        ak: ak.marshall()?,
        tls_sec1: sec1(&tls)?.to_vec(),
        tls: tls.marshall()?,
    })
}

/// The algorithm of the endorsement key that the vendor certified, and the certificate; RSA where there is
/// none.
fn endorsement(context: &mut Context) -> (AsymmetricAlgorithmSelection, Option<Vec<u8>>) {
    for algorithm in [RSA, ECC] {
        if let Ok(certificate) = ek::retrieve_ek_pubcert(context, algorithm) {
            return (algorithm, Some(certificate));
        }
    }
    (RSA, None)
}

pub(crate) fn sign(context: &mut Context, key: KeyHandle, digest: [u8; 32]) -> Result<Vec<u8>, Failure> {
    let digest = Digest::try_from(digest.to_vec())?;
    // The key is unrestricted, so the TPM wants no proof that it made the digest itself.
    let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: tss::TPM2_ST_HASHCHECK,
        hierarchy: tss::TPM2_RH_NULL,
        digest: Default::default(),
    })?;
    let signature = context.execute_with_session(Some(AuthSession::Password), |context| {
        context.sign(key, digest, SignatureScheme::Null, ticket)
    })?;
    let Signature::EcDsa(signature) = signature else {
        return Err(Failure::Unexpected("its signature is not ECDSA"));
    };
    let (r, s) = (padded(signature.signature_r().value())?, padded(signature.signature_s().value())?);
    let signature = EcdsaSignature::from_scalars(r, s)
        .map_err(|_| Failure::Unexpected("its signature is out of range"))?;
    Ok(signature.to_der().as_bytes().to_vec())
}

pub(crate) fn activate(
    context: &mut Context,
    keys: Keys,
    blob: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, Failure> {
    let (blob, secret) = (IdObject::try_from(blob.to_vec())?, EncryptedSecret::try_from(secret.to_vec())?);
    let (algorithm, _) = endorsement(context);
    let ek_handle = ek::create_ek_object_2(context, algorithm, None)?;
    let activated = activate_with(context, keys, ek_handle, blob, secret);
    context.flush_context(ObjectHandle::from(ek_handle))?;
    Ok(activated?.value().to_vec())
}

fn activate_with(
    context: &mut Context,
    keys: Keys,
    ek_handle: KeyHandle,
    blob: IdObject,
    secret: EncryptedSecret,
) -> Result<Digest, Failure> {
    let session = context
        .execute_without_session(|context| {
            context.start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })?
        .ok_or(Failure::Unexpected("it opened no session"))?;
    let activated = activate_in(context, session, keys, ek_handle, blob, secret);
    // A TPM holds three sessions at most: none may be left open.
    let flushed = context.flush_context(SessionHandle::from(session).into());
    let activated = activated?;
    flushed?;
    Ok(activated)
}

fn activate_in(
    context: &mut Context,
    session: AuthSession,
    keys: Keys,
    ek_handle: KeyHandle,
    blob: IdObject,
    secret: EncryptedSecret,
) -> Result<Digest, Failure> {
    let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).build();
    context.tr_sess_set_attributes(session, attributes, mask)?;
    let policy = PolicySession::try_from(session)?;
    context.execute_with_session(Some(AuthSession::Password), |context| {
        context.policy_secret(
            policy,
            AuthHandle::Endorsement,
            Nonce::default(),
            Digest::default(),
            Nonce::default(),
            None,
        )
    })?;
    Ok(context.execute_with_sessions((Some(AuthSession::Password), Some(session), None), |context| {
        context.activate_credential(keys.ak, ek_handle, blob, secret)
    })?)
}

pub(crate) fn quote(
    context: &mut Context,
    keys: Keys,
    binding: [u8; 32],
    mask: u32,
) -> Result<(Evidence, Vec<PcrValue>), Failure> {
    let selection = selection(mask)?;
    let data = Data::try_from(binding.to_vec())?;
    let (attest, signature) = context.execute_with_session(Some(AuthSession::Password), |context| {
        context.quote(keys.ak, data, SignatureScheme::Null, selection.clone())
    })?;
    let values = pcr_values(context, selection, mask)?;
    Ok((Evidence { attest: attest.marshall()?, signature: signature.marshall()? }, values))
}

/// A key's TPMT_PUBLIC, and the attestation key's certification that the key lives in the same TPM.
pub(crate) fn certify(
    context: &mut Context,
    ak: KeyHandle,
    key: KeyHandle,
    binding: [u8; 32],
) -> Result<(Vec<u8>, Evidence), Failure> {
    let (public, ..) = context.read_public(key)?;
    let data = Data::try_from(binding.to_vec())?;
    let sessions = (Some(AuthSession::Password), Some(AuthSession::Password), None);
    let (attest, signature) = context.execute_with_sessions(sessions, |context| {
        context.certify(key.into(), ak, data, SignatureScheme::Null)
    })?;
    let evidence = Evidence { attest: attest.marshall()?, signature: signature.marshall()? };
    Ok((public.marshall()?, evidence))
}

fn selection(mask: u32) -> Result<PcrSelectionList, Failure> {
    let slots = (0..24)
        .filter(|index| mask & 1 << index != 0)
        .map(|index| PcrSlot::try_from(1_u32 << index))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots).build()?)
}

fn pcr_values(
    context: &mut Context,
    selection: PcrSelectionList,
    mask: u32,
) -> Result<Vec<PcrValue>, Failure> {
    let data = context.execute_without_session(|context| pcr::read_all(context, selection))?;
    let bank =
        data.pcr_bank(HashingAlgorithm::Sha256).ok_or(Failure::Unexpected("it has no SHA-256 registers"))?;
    (0..24_u8)
        .filter(|index| mask & 1 << index != 0)
        .map(|index| {
            let slot = PcrSlot::try_from(1_u32 << index)?;
            let value = bank.get_digest(slot).ok_or(Failure::Unexpected("a register is missing"))?;
            let digest =
                value.value().try_into().map_err(|_| Failure::Unexpected("a register is not 32 bytes"))?;
            Ok(PcrValue { index, digest })
        })
        .collect()
}

fn sec1(public: &Public) -> Result<[u8; 65], Failure> {
    let Public::Ecc { unique, .. } = public else {
        return Err(Failure::Unexpected("its TLS key is not ECC"));
    };
    let mut point = [4; 65];
    point[1..33].copy_from_slice(&padded(unique.x().value())?);
    point[33..].copy_from_slice(&padded(unique.y().value())?);
    Ok(point)
}

/// Puts back the leading zeros that a TPM may drop.
fn padded(bytes: &[u8]) -> Result<[u8; 32], Failure> {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(bytes.len()).ok_or(Failure::Unexpected("a number is too long"))?;
    padded[start..].copy_from_slice(bytes);
    Ok(padded)
}
