//! Where lies what is handed out of releases: below `/releases/` of a server, in a release manager's folder, and on a stick.

use crate::HexDigest;
use std::fmt::Display;

/// The beacon.
pub const BEACON_FILE: &str = "beacon.json";
/// The timestamp among the metadata. It alone has no version in its name: it is where everybody begins.
pub const TIMESTAMP_FILE: &str = "timestamp.json";

/// The file of a version of a role in `metadata/`.
pub fn metadata_file(role: &str, version: impl Display) -> String {
    if role == "timestamp" { TIMESTAMP_FILE.to_owned() } else { format!("{version}.{role}.json") }
}

/// The file of a small target in `targets/`: under its name, with its SHA-256 in hexadecimal before the last part.
pub fn target_file(name: &str, sha256: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, last)) => format!("{folder}/{sha256}.{last}"),
        None => format!("{sha256}.{name}"),
    }
}

/// The file of an archive in `objects/`.
pub fn object_file(sha256: &HexDigest) -> String {
    hex::encode(sha256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_the_update_framework_has_them() {
        assert_eq!(metadata_file("os-3", 12), "12.os-3.json");
        assert_eq!(metadata_file("timestamp", 12), "timestamp.json");
        assert_eq!(target_file("os/generic/1.0.0", "ab"), "os/generic/ab.1.0.0");
        assert_eq!(target_file("builders.json", "ab"), "ab.builders.json");
    }
}
