//! What releases are called: kind, name, version.

use crate::open::open_enum;
use semver::Version;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The longest word, and the longest version.
const LONGEST: usize = 64;

open_enum! {
    /// What a release is of.
    ReleaseKind, "kind" {
        /// The operating system of the box.
        Os = 0, "os";
        /// A model.
        Models = 1, "models";
    }
}

open_enum! {
    /// What a node is there for; a node may be in no tier.
    Tier, "tier" {
        /// Serves predictions.
        Oracle = 0, "oracle";
        /// Guards others.
        Guardian = 1, "guardian";
        /// Validates.
        Validator = 2, "validator";
    }
}

/// A word that goes into names of files, addresses and terminals: small letters, digits, dashes and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

/// What all versions of a release share, such as `models/btc-oracle`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Series {
    /// What it is of.
    pub kind: ReleaseKind,
    /// The name.
    pub name: Word,
}

/// What a release is called, such as `models/btc-oracle/1.4.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseName {
    /// What all its versions share.
    pub series: Series,
    /// The version; the versions of one name are in order.
    pub version: Version,
}

/// Why a text names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseNameError {
    /// There is no such kind.
    #[error("a kind is one of {known}, not `{0}`", known = names(ReleaseKind::KNOWN.iter().map(|kind| kind.name())))]
    Kind(String),
    /// There is no such tier.
    #[error("a tier is one of {known}, not `{0}`", known = names(Tier::KNOWN.iter().map(|tier| tier.name())))]
    Tier(String),
    /// Not a word.
    #[error(
        "`{0}`: small letters, digits, dashes and underscores, 64 at most, and first a letter or a digit"
    )]
    Word(String),
    /// Not a version.
    #[error("`{0}` is no version, such as 1.4.0")]
    Version(String),
    /// Not three parts.
    #[error("`{0}` is no release, such as os/generic/1.4.0")]
    Parts(String),
}

fn names<'a>(names: impl Iterator<Item = Cow<'a, str>>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl Tier {
    /// The tier of this name.
    pub fn named(name: &str) -> Result<Self, ReleaseNameError> {
        let known = Self::KNOWN.iter().copied().find(|tier| tier.name() == name);
        known.ok_or_else(|| ReleaseNameError::Tier(name.escape_debug().to_string()))
    }
}

impl ReleaseKind {
    /// The kind of this name.
    pub fn named(name: &str) -> Result<Self, ReleaseNameError> {
        let known = Self::KNOWN.iter().copied().find(|kind| kind.name() == name);
        known.ok_or_else(|| ReleaseNameError::Kind(name.escape_debug().to_string()))
    }
}

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(text: &str, more: &str) -> bool {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || more.contains(char);
    (1..=LONGEST).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(|char: char| char.is_ascii_alphanumeric())
}

impl FromStr for Word {
    type Err = ReleaseNameError;
    fn from_str(text: &str) -> Result<Self, ReleaseNameError> {
        let is_word = is_word(text, "-_");
        if is_word {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReleaseNameError::Word(text.escape_debug().to_string()))
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version as names of releases have it.
fn version(text: &str) -> Result<Version, ReleaseNameError> {
    let wrong = || ReleaseNameError::Version(text.escape_debug().to_string());
    if is_word(text, ".-") { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

impl ReleaseName {
    /// The release of this kind, name and version.
    pub fn new(kind: &str, name: &str, version: &str) -> Result<Self, ReleaseNameError> {
        let series = Series { kind: ReleaseKind::named(kind)?, name: name.parse()? };
        Ok(Self { series, version: self::version(version)? })
    }

    /// What it is of.
    pub const fn kind(&self) -> ReleaseKind {
        self.series.kind
    }
}

impl FromStr for ReleaseName {
    type Err = ReleaseNameError;
    fn from_str(text: &str) -> Result<Self, ReleaseNameError> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [kind, name, version] => Self::new(kind, name, version),
            _ => Err(ReleaseNameError::Parts(text.escape_debug().to_string())),
        }
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.series, self.version)
    }
}

impl FromStr for Series {
    type Err = ReleaseNameError;
    fn from_str(text: &str) -> Result<Self, ReleaseNameError> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [kind, name] => Ok(Self { kind: ReleaseKind::named(kind)?, name: name.parse()? }),
            _ => Err(ReleaseNameError::Parts(text.escape_debug().to_string())),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

/// In JSON, names are texts.
macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text! { Word Series ReleaseName }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_one_name_and_no_other_text_names_one() {
        for name in ["os/generic/1.0.0", "models/btc-oracle/1.4.0-rc.2"] {
            assert_eq!(name.parse::<ReleaseName>().unwrap().to_string(), name);
        }
        for text in [
            "os/generic/1",
            "os/generic",
            "os/generic/1.0.0/x",
            "bios/generic/1.0.0",
            "os/../1.0.0",
            "os/Gen/1.0.0",
            "os/generic/1.0.0+build",
            "os/generic/01.0.0",
            "os//1.0.0",
            "os/-x/1.0.0",
            "",
            "kind_7/x/1.0.0",
            "os/x/1.0.0\n",
        ] {
            assert!(text.parse::<ReleaseName>().is_err(), "{text}");
        }
    }
}
