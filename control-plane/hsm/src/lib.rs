//! A key that an HSM or a smart card keeps, used over PKCS#11: the key is made there, signs there, and never leaves. The
//! authority's key may be one, and the keys that sign releases.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error as TokenError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use p256::ecdsa::Signature;
use secrecy::{ExposeSecret as _, SecretString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Object identifier of the curve P-256, DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Tag and length of the OCTET STRING around a point of that curve.
const POINT: [u8; 2] = [0x04, 0x41];

/// Names the key and the token that holds it.
pub struct HsmConfig {
    /// The vendor's library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the key.
    pub key: String,
    /// The user's PIN.
    pub pin: SecretString,
}

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The library, or the device behind it, refuses.
    #[error("the HSM refuses: {0}")]
    Refused(String),
    /// No such token.
    #[error("there is no token labelled `{0}`")]
    NoToken(String),
    /// No such key.
    #[error("there is no key labelled `{0}` on the token")]
    NoKey(String),
    /// A key that was to be made.
    #[error("a key labelled `{0}` is on the token already")]
    Taken(String),
    /// A key that others may have copies of.
    #[error(
        "somebody else may have a copy of the key labelled `{0}`: the token gives copies, or did not make the key itself"
    )]
    Extractable(String),
    /// More than one token.
    #[error("two tokens are labelled `{0}`: give one of them another label")]
    TwoTokens(String),
    /// The key has been replaced.
    #[error("the token has another key labelled `{0}` than before")]
    AnotherKey(String),
    /// Only one half of a key, or a key of another kind.
    #[error("the key labelled `{0}` is not a whole ECDSA key on P-256")]
    NotAKey(String),
    /// The device has answered with something that is no signature.
    #[error("the HSM answered with something that is no signature")]
    NotASignature,
}

impl From<TokenError> for HsmError {
    /// In words: the library's own errors say everything twice where their cause is printed too.
    fn from(error: TokenError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// An ECDSA key on P-256, in an HSM.
pub struct HsmKey {
    library: Pkcs11,
    config: HsmConfig,
    copies: Copies,
    public: Vec<u8>,
    /// The open session with the handle of the key; `None` after a failure.
    login: Mutex<Option<Login>>,
}

struct Login {
    session: Session,
    private: ObjectHandle,
}

/// What is expected of the token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The key is there.
    There,
    /// The key is there, or is made.
    ThereOrMade,
    /// The key is not there, and is made.
    Made,
}

/// What becomes of a key of which there may be copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Refused,
    Warned,
}

impl HsmKey {
    /// Logs in and finds the key.
    pub fn open(config: HsmConfig) -> Result<Self, HsmError> {
        Self::log_in(config, Expected::There)
    }

    /// Logs in and finds the key, or makes one where there is none.
    pub fn open_or_create(config: HsmConfig) -> Result<Self, HsmError> {
        Self::log_in(config, Expected::ThereOrMade)
    }

    /// Logs in and makes the key, which must not be there yet.
    pub fn create(config: HsmConfig) -> Result<Self, HsmError> {
        Self::log_in(config, Expected::Made)
    }

    fn log_in(config: HsmConfig, expected: Expected) -> Result<Self, HsmError> {
        let library = open_library(&config.module)?;
        // The authority's key, once it is in use, is used on: without it no box would have a certificate.
        let copies = if expected == Expected::ThereOrMade { Copies::Warned } else { Copies::Refused };
        let (session, public, private) = log_in(&library, &config, expected, copies)?;
        let login = Mutex::new(Some(Login { session, private }));
        Ok(Self { library, config, copies, public, login })
    }

    /// The public half: a point of the curve, uncompressed.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Signs a message by its SHA-256; the signature is in DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        // An HSM gives the two numbers of a signature side by side; certificates and metadata want both in DER.
        let signature = self.sign_digest(digest.as_ref())?;
        let signature = Signature::from_slice(&signature).map_err(|_| HsmError::NotASignature)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Login { session, private }) = &*login
            && let Ok(signature) = session.sign(&Mechanism::Ecdsa, *private, digest)
        {
            return Ok(signature);
        }
        // The device may have been restarted, and forgotten the session: one more try with a new one.
        *login = None;
        let (session, public, private) = log_in(&self.library, &self.config, Expected::There, self.copies)?;
        if public != self.public {
            return Err(HsmError::AnotherKey(self.config.key.clone()));
        }
        let Login { session, private } = login.insert(Login { session, private });
        Ok(session.sign(&Mechanism::Ecdsa, *private, digest)?)
    }
}

fn open_library(module: &Path) -> Result<Pkcs11, TokenError> {
    let library = Pkcs11::new(module)?;
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    Ok(library)
}

fn log_in(
    library: &Pkcs11,
    config: &HsmConfig,
    expected: Expected,
    copies: Copies,
) -> Result<(Session, Vec<u8>, ObjectHandle), HsmError> {
    let mut found = None;
    for slot in library.get_slots_with_token()? {
        if library.get_token_info(slot)?.label() == config.token && found.replace(slot).is_some() {
            return Err(HsmError::TwoTokens(config.token.clone()));
        }
    }
    let slot = found.ok_or_else(|| HsmError::NoToken(config.token.clone()))?;
    let session = library.open_rw_session(slot)?;
    session.login(UserType::User, Some(&AuthPin::new(config.pin.expose_secret().to_owned().into())))?;
    let label = Attribute::Label(config.key.clone().into_bytes());
    let find = |class| session.find_objects(&[Attribute::Class(class), label.clone()]);
    let (public, private) = match (&find(ObjectClass::PUBLIC_KEY)?[..], &find(ObjectClass::PRIVATE_KEY)?[..])
    {
        ([], []) if expected != Expected::There => make(&session, &label)?,
        ([], []) => return Err(HsmError::NoKey(config.key.clone())),
        (_, _) if expected == Expected::Made => return Err(HsmError::Taken(config.key.clone())),
        ([public], [private]) => (*public, *private),
        _ => return Err(HsmError::NotAKey(config.key.clone())),
    };
    if may_leave(&session, private)? {
        if copies == Copies::Refused {
            return Err(HsmError::Extractable(config.key.clone()));
        }
        tracing::warn!(key = config.key, "the token may give copies of this key, or was given it");
    }
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let (mut curve, mut point) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(public, &wanted)? {
        match attribute {
            Attribute::EcParams(value) => curve = value,
            Attribute::EcPoint(value) => point = value,
            _ => {}
        }
    }
    match point.strip_prefix(&POINT) {
        Some(point) if point.len() == 65 && curve == P256 => Ok((session, point.to_vec(), private)),
        _ => Err(HsmError::NotAKey(config.key.clone())),
    }
}

/// Whether somebody else may have a copy of a key: the token says that it gives copies, or was given one, or does not say.
fn may_leave(session: &Session, private: ObjectHandle) -> Result<bool, TokenError> {
    let wanted = [AttributeType::Extractable, AttributeType::NeverExtractable, AttributeType::Local];
    let said = session.get_attributes(private, &wanted)?;
    let is_copied =
        [Attribute::Extractable(true), Attribute::NeverExtractable(false), Attribute::Local(false)];
    Ok(!said.contains(&Attribute::Extractable(false)) || is_copied.iter().any(|is| said.contains(is)))
}

fn make(session: &Session, label: &Attribute) -> Result<(ObjectHandle, ObjectHandle), TokenError> {
    let public =
        [Attribute::Token(true), Attribute::Verify(true), Attribute::EcParams(P256.to_vec()), label.clone()];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label.clone(),
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
}
