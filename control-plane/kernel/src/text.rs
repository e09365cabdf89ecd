//! Text that people give: types that exist only once checked, and whose bounds are in the API's document.

use noderr_protocol::steers_terminal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::ops::Deref;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// One line of text: 1 to `MAX` characters, not all of them blank, none of them an order to a terminal.
/// Blanks around the text are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line<const MAX: usize>(String);

impl<const MAX: usize> Line<MAX> {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.chars().count() > MAX || trimmed.chars().any(steers_terminal) {
            return Err(format!(
                "must be a line of 1 to {MAX} characters, not blank and without control characters"
            ));
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl<const MAX: usize> Deref for Line<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Line<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<const MAX: usize> PartialSchema for Line<MAX> {
    fn schema() -> RefOr<Schema> {
        let order = r"\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069";
        text(1, MAX).pattern(Some(format!(r"^[^{order}]*[^\s\ufeff{order}][^{order}]*$"))).build().into()
    }
}

impl<const MAX: usize> ToSchema for Line<MAX> {
    fn name() -> Cow<'static, str> {
        format!("Line{MAX}").into()
    }
}

/// An e-mail address in lower case, as far as an address can be checked without writing to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Email(String);

impl Email {
    const MAX: usize = 254;

    /// Checks an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = text.trim().to_lowercase();
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        let parts = address.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
        if address.len() > Self::MAX || !parts.is_some_and(|(user, host)| plain(user) && plain(host)) {
            return Err("must be an e-mail address".to_owned());
        }
        Ok(Self(address))
    }
}

impl Deref for Email {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl PartialSchema for Email {
    fn schema() -> RefOr<Schema> {
        // No format: what that allows depends on whom one asks, and the pattern is what is taken here.
        let pattern = r"^[!-?A-~]+@[!-?A-~]+$";
        text(3, Self::MAX).pattern(Some(pattern)).build().into()
    }
}

impl ToSchema for Email {
    fn name() -> Cow<'static, str> {
        "Email".into()
    }
}

fn text(least: usize, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(least))
        .max_length(Some(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_trimmed_and_holds_no_orders() {
        assert_eq!(&*Line::<10>::parse("  living ü ").unwrap(), "living ü");
        for wrong in ["", "   ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{9b}2J", "eleven char"] {
            assert!(Line::<10>::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_has_a_user_and_a_host() {
        assert_eq!(&*Email::parse(" Ada@Example.org ").unwrap(), "ada@example.org");
        for wrong in
            ["", "ada", "@x", "a@", "a b@c", "a@b@c", "a@\u{202e}c", &format!("a@{}", "b".repeat(254))]
        {
            assert!(Email::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
