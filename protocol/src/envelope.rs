//! The frame around every message: version byte, kind byte, postcard body. Unknown versions and kinds,
//! trailing bytes and oversized input are errors, never panics.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version this build writes. Readers know every version ever shipped.
pub const WIRE_VERSION: u8 = 1;

/// The largest message that is read, in bytes; a larger message is refused unread.
pub const MAX_ENVELOPE: usize = 64 * 1024;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Over [`MAX_ENVELOPE`].
    #[error("message of {0} bytes, at most {MAX_ENVELOPE} are read")]
    TooLarge(usize),
    /// Not even a header.
    #[error("message ends inside its header")]
    Truncated,
    /// Written by a newer build, or by no build at all.
    #[error("unknown wire version {0}")]
    UnknownVersion(u8),
    /// A kind this direction does not have.
    #[error("unknown message kind 0x{0:02x}")]
    UnknownKind(u8),
    /// The body is not what the kind promises.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// Bytes are left over behind the body.
    #[error("{0} bytes behind the end of the body")]
    TrailingBytes(usize),
}

/// Why a message cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Over [`MAX_ENVELOPE`].
    #[error("message of {0} bytes, at most {MAX_ENVELOPE} may be sent")]
    TooLarge(usize),
    /// The serialiser refused.
    #[error("cannot encode: {0}")]
    Serialise(String),
}

/// A family of messages that share the envelope.
pub trait Message: Sized {
    /// The bytes to send.
    fn encode(&self) -> Result<Vec<u8>, EncodeError>;
    /// Reads one message and nothing else.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

pub(crate) fn seal<T: Serialize>(kind: u8, body: &T) -> Result<Vec<u8>, EncodeError> {
    let bytes = postcard::to_extend(body, vec![WIRE_VERSION, kind])
        .map_err(|error| EncodeError::Serialise(error.to_string()))?;
    if bytes.len() > MAX_ENVELOPE { Err(EncodeError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Splits the header off; the version is checked here, the kind by the caller.
pub(crate) fn open(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match bytes {
        _ if bytes.len() > MAX_ENVELOPE => Err(DecodeError::TooLarge(bytes.len())),
        [WIRE_VERSION, kind, body @ ..] => Ok((*kind, body)),
        [version, _, ..] => Err(DecodeError::UnknownVersion(*version)),
        [] | [_] => Err(DecodeError::Truncated),
    }
}

pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (message, rest) =
        postcard::take_from_bytes(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(DecodeError::TrailingBytes(rest.len())) }
}
