//! The keys in the TPM: storage root, attestation key, TLS key, key of results, at fixed persistent handles.
//!
//! Every key with an empty authorisation has `noDA`: without it each power cut counts as a failed attempt, and after
//! a few of them the TPM locks itself and refuses to sign.

use crate::failure::Failure;
use noderr_identity::tpm::wire::Signer;
use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    CapabilityData, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public, PublicBuilder,
    PublicEccParametersBuilder, SymmetricDefinitionObject,
};

const SRK: u32 = 0x8100_0001;
const AK: u32 = 0x8100_4E01;
const TLS: u32 = 0x8100_4E02;
const RESULTS: u32 = 0x8100_4E03;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) ak: KeyHandle,
    pub(crate) tls: KeyHandle,
    pub(crate) results: KeyHandle,
}

impl Keys {
    pub(crate) const fn signer(self, signer: Signer) -> KeyHandle {
        match signer {
            Signer::Tls => self.tls,
            Signer::Results => self.results,
        }
    }
}

/// Finds the keys, or makes and persists those that are missing.
pub(crate) fn find(context: &mut Context, create: bool) -> Result<Keys, Failure> {
    let (ak, tls, results) = (load(context, AK)?, load(context, TLS)?, load(context, RESULTS)?);
    // The node's identity depends on the attestation key and the TLS key; the key of results is certified
    // anew at every renewal, so a new one may take its place.
    if !create && (ak.is_none() || tls.is_none()) {
        return Err(Failure::KeysGone);
    }
    Ok(Keys {
        ak: child(context, ak, AK, Role::Attestation)?,
        tls: child(context, tls, TLS, Role::Signing)?,
        results: child(context, results, RESULTS, Role::Signing)?,
    })
}

/// The key that was found, or a new one.
fn child(
    context: &mut Context,
    found: Option<KeyHandle>,
    handle: u32,
    role: Role,
) -> Result<KeyHandle, Failure> {
    if let Some(found) = found {
        return Ok(found);
    }
    let srk = match load(context, SRK)? {
        Some(srk) => srk,
        None => create_srk(context)?,
    };
    create_child(context, srk, handle, role)
}

fn load(context: &mut Context, handle: u32) -> Result<Option<KeyHandle>, Failure> {
    // Asking for a handle that is not there makes the library log an error; asking what is there does not.
    let (found, _) = context.get_capability(CapabilityType::Handles, handle, 1)?;
    let CapabilityData::Handles(found) = found else {
        return Err(Failure::Unexpected("its list of handles is something else"));
    };
    let handle = persistent(handle)?;
    if found.into_inner().first() != Some(&TpmHandle::Persistent(handle)) {
        return Ok(None);
    }
    let object = context.tr_from_tpm_public(TpmHandle::Persistent(handle))?;
    Ok(Some(object.into()))
}

fn persistent(handle: u32) -> Result<PersistentTpmHandle, Failure> {
    Ok(PersistentTpmHandle::new(handle)?)
}

fn create_srk(context: &mut Context) -> Result<KeyHandle, Failure> {
    let template = template(Role::Storage)?;
    let made = context.execute_with_session(Some(AuthSession::Password), |context| {
        context.create_primary(Hierarchy::Owner, template, None, None, None, None)
    })?;
    persist(context, made.key_handle, SRK)
}

fn create_child(
    context: &mut Context,
    parent: KeyHandle,
    handle: u32,
    role: Role,
) -> Result<KeyHandle, Failure> {
    let template = template(role)?;
    let transient = context.execute_with_session(Some(AuthSession::Password), |context| {
        let made = context.create(parent, template, None, None, None, None)?;
        context.load(parent, made.out_private, made.out_public)
    })?;
    persist(context, transient, handle)
}

/// Persists a transient key and flushes the transient copy, whether or not persisting worked.
fn persist(context: &mut Context, transient: KeyHandle, handle: u32) -> Result<KeyHandle, Failure> {
    let target = Persistent::Persistent(persistent(handle)?);
    let persisted = context.execute_with_session(Some(AuthSession::Password), |context| {
        context.evict_control(Provision::Owner, transient.into(), target)
    });
    context.flush_context(ObjectHandle::from(transient))?;
    Ok(persisted?.into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Storage,
    Attestation,
    /// A key that may sign any digest.
    Signing,
}

fn template(role: Role) -> Result<Public, Failure> {
    let storage = role == Role::Storage;
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(role != Role::Signing)
        .with_decrypt(storage)
        .with_sign_encrypt(!storage)
        .build()?;
    let (symmetric, scheme) = match role {
        Role::Storage => (SymmetricDefinitionObject::AES_128_CFB, EccScheme::Null),
        _ => (SymmetricDefinitionObject::Null, EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256))),
    };
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(symmetric)
        .with_ecc_scheme(scheme)
        .with_curve(EccCurve::NistP256)
        .with_is_signing_key(!storage)
        .with_is_decryption_key(storage)
        .with_restricted(role != Role::Signing)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .build()?;
    Ok(PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()?)
}
