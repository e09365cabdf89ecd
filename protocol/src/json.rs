//! Values of the exchanges over HTTPS that JSON has no form of its own for, and what the API's document says of them.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;

/// Bytes; in JSON the standard base64 with padding.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// Gives the bytes up.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Base64 {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({})", hex::encode(&self.0))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// 32 bytes; in JSON 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HexDigest(pub [u8; 32]);

impl Serialize for HexDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for HexDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut digest)
            .map_err(|_| D::Error::custom("expected 64 hex digits"))?;
        Ok(Self(digest))
    }
}

/// The index of a register: 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RegisterIndex(u8);

impl RegisterIndex {
    const MAX: u8 = 23;

    /// The index, if a TPM has such a register.
    pub const fn new(index: u8) -> Option<Self> {
        if index <= Self::MAX { Some(Self(index)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for RegisterIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = RegisterIndex;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", RegisterIndex::MAX)
            }
            fn visit_u64<E: serde::de::Error>(self, index: u64) -> Result<Self::Value, E> {
                let index = u8::try_from(index).ok().and_then(RegisterIndex::new);
                index.ok_or_else(|| E::custom("there is no such register"))
            }
            // 5.0 is an integer to JSON Schema, and so to those who write clients from the document.
            fn visit_f64<E: serde::de::Error>(self, index: f64) -> Result<Self::Value, E> {
                let whole = (0..=RegisterIndex::MAX).find(|whole| f64::from(*whole) == index);
                whole.and_then(RegisterIndex::new).ok_or_else(|| E::custom("there is no such register"))
            }
        }
        deserializer.deserialize_any(Whole)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use super::{Base64, HexDigest, RegisterIndex};
    use crate::NodeId;
    use utoipa::openapi::RefOr;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    use utoipa::{PartialSchema, ToSchema};

    fn text(pattern: &str) -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
    }

    impl PartialSchema for Base64 {
        fn schema() -> RefOr<Schema> {
            // The bits that the last digit has to spare are zero.
            let digit = "[A-Za-z0-9+/]";
            let last = format!("{digit}[AQgw]==|{digit}{{2}}[AEIMQUYcgkosw048]=");
            text(&format!("^(?:{digit}{{4}})*(?:{last})?$"))
                .content_encoding("base64")
                .description(Some("Bytes in standard base64 with padding"))
                .build()
                .into()
        }
    }

    impl PartialSchema for HexDigest {
        fn schema() -> RefOr<Schema> {
            text("^[0-9a-f]{64}$").description(Some("32 bytes as 64 hex digits")).build().into()
        }
    }

    impl PartialSchema for RegisterIndex {
        fn schema() -> RefOr<Schema> {
            let index = ObjectBuilder::new().schema_type(Type::Integer);
            index.minimum(Some(0)).maximum(Some(RegisterIndex::MAX)).build().into()
        }
    }

    impl PartialSchema for NodeId {
        fn schema() -> RefOr<Schema> {
            text("^[0-9a-f]{64}$").description(Some("The id of a node")).build().into()
        }
    }

    impl ToSchema for Base64 {}
    impl ToSchema for HexDigest {}
    impl ToSchema for RegisterIndex {}
    impl ToSchema for NodeId {}
}
