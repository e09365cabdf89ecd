//! The shelves of a kind: roles among which its releases are spread by the hash of their names, so that a box that looks for
//! one release fetches a few of all names.

use crate::digest::sha256;
use crate::key::PublicKey;
use crate::metadata::Targets;
use noderr_protocol::release::ReleaseName;

/// How many shelves a kind has. Two hexadecimal digits begin the hashes of each.
const SHELVES: usize = 8;

/// The role that names a release.
pub fn shelf_of(release: &ReleaseName) -> String {
    let hash = sha256(release.to_string().as_bytes());
    let first = hash.chars().next().and_then(|first| first.to_digit(16)).unwrap_or_default();
    shelf(&release.kind().name(), first as usize * SHELVES / 16)
}

fn shelf(kind: &str, number: usize) -> String {
    format!("{kind}-{number}")
}

/// The role of a kind, which names nothing itself, and the empty shelves below it.
pub(crate) fn shelves(
    kind: &str,
    expires: jiff::Timestamp,
    keys: &[&PublicKey],
    threshold: usize,
) -> Vec<(String, Targets)> {
    let mut role = Targets::new(1, expires);
    let mut all = Vec::new();
    for number in 0..SHELVES {
        let name = shelf(kind, number);
        let digits = (16 / SHELVES * number..16 / SHELVES * (number + 1)).map(|digit| format!("{digit:x}"));
        role.delegate_hashes(&name, digits.collect(), keys, threshold);
        all.push((name, Targets::new(1, expires)));
    }
    all.insert(0, (kind.to_owned(), role));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{FileKey, ReleaseKey as _};
    use std::collections::BTreeSet;

    #[test]
    fn every_release_has_one_shelf_and_every_shelf_has_some() {
        let key = FileKey::generate();
        let shelves = shelves("os", "2027-01-01T00:00:00Z".parse().unwrap(), &[key.public()], 1);
        let (_, kind) = &shelves[0];
        let mut used = BTreeSet::new();
        for patch in 0..200 {
            let release: ReleaseName = format!("os/generic/1.0.{patch}").parse().unwrap();
            let hash = sha256(release.to_string().as_bytes());
            let roles = &kind.delegations.as_ref().unwrap().roles;
            let of: Vec<_> = roles
                .iter()
                .filter(|role| role.path_hash_prefixes.iter().any(|prefix| hash.starts_with(prefix)))
                .collect();
            assert_eq!(of.len(), 1);
            assert_eq!(of[0].name, shelf_of(&release));
            used.insert(of[0].name.clone());
        }
        assert_eq!(used.len(), SHELVES);
    }
}
