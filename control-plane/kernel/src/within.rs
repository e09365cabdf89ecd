//! Whole numbers with bounds: a type that exists only once checked, and whose bounds are in the API's
//! document.

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Within<const MIN: u16, const MAX: u16>(u16);

impl<const MIN: u16, const MAX: u16> Within<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    fn checked(number: u64) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number)).map(Self)
    }
}

impl<'de, const MIN: u16, const MAX: u16> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers::<MIN, MAX>)
    }
}

struct Numbers<const MIN: u16, const MAX: u16>;

impl<const MIN: u16, const MAX: u16> Visitor<'_> for Numbers<MIN, MAX> {
    type Value = Within<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Within::checked(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let positive = u64::try_from(number).ok().and_then(Within::checked);
        positive.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    /// `5.0` is an integer to JSON Schema.
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(Unexpected::Float(number), &self);
        if number.fract() != 0.0 || !(f64::from(MIN)..=f64::from(MAX)).contains(&number) {
            return Err(wrong());
        }
        format!("{number}")
            .parse()
            .map_err(E::custom)
            .and_then(|number| Within::checked(number).ok_or_else(wrong))
    }

    /// In a query, everything is text.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let number = text.parse().ok().and_then(Within::checked);
        number.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<const MIN: u16, const MAX: u16> PartialSchema for Within<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .build()
            .into()
    }
}

impl<const MIN: u16, const MAX: u16> ToSchema for Within<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Within{MIN}To{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_the_bounds_pass_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Within<1, 365>>(text).map(Within::get).ok();
        assert_eq!(["1", "365", "5.0", "\"7\""].map(read), [Some(1), Some(365), Some(5), Some(7)]);
        assert_eq!(["0", "366", "-1", "5.5", "1e9", "70000", "true", "\"x\""].map(read), [None; 8]);
    }
}
