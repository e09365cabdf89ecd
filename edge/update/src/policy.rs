//! What a box takes and what it may cost: pure decisions.

use crate::setback::Setback;
use noderr_protocol::release::{Manifest, ReleaseName, ReleaseRefusal, Requirement, Tier, Word};

/// What the box is.
#[derive(Debug, Clone, Default)]
pub struct ThisBox {
    /// Words that a manifest may name: the architecture, the board.
    pub hardware: Vec<String>,
    /// The tier that the network has put the node into.
    pub tier: Option<Tier>,
}

/// What releases may cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    /// Bytes over the network in a month; any number if it is absent.
    pub month_bytes: Option<u64>,
    /// Whether an artefact of which the box has nothing yet is left alone: more than half of it would have to come.
    pub never_whole: bool,
}

fn listed(words: &[Word]) -> String {
    words.iter().map(Word::as_str).collect::<Vec<_>>().join(" or ")
}

/// Whether a release is for this box.
pub(crate) fn fits(manifest: &Manifest, this: &ThisBox) -> Result<(), Setback> {
    if !manifest.hardware.is_empty() && !this.hardware.iter().any(|word| manifest.runs_on(word)) {
        let detail = format!(
            "{} is for {}, and this box is {} (releases.hardware)",
            manifest.release,
            listed(&manifest.hardware),
            this.hardware.join(", ")
        );
        return Err(Setback::refused(ReleaseRefusal::Hardware, detail));
    }
    if !manifest.is_for(this.tier) {
        let tier = this.tier.map_or_else(|| "no tier".to_owned(), |tier| format!("the tier {}", tier.name()));
        let detail =
            format!("{} is for {}, and this box is in {tier}", manifest.release, listed(&manifest.tiers));
        return Err(Setback::refused(ReleaseRefusal::Tier, detail));
    }
    Ok(())
}

/// Whether one release is what another requires.
pub(crate) fn meets(one: &Requirement, held: &ReleaseName) -> bool {
    held.series == one.series && held.version >= one.at_least
}

/// What another release requires is not held.
pub(crate) fn lacks(manifest: &Manifest, one: &Requirement) -> Setback {
    let detail = format!("{} requires {} {} or later", manifest.release, one.series, one.at_least);
    Setback::refused(ReleaseRefusal::Requires, detail)
}

/// Whether so many bytes may come, after so many in this month.
pub(crate) fn allows(allowance: &Allowance, spent: u64, cost: u64) -> Result<(), Setback> {
    let left = allowance.month_bytes.map_or(u64::MAX, |most| most.saturating_sub(spent));
    if cost <= left {
        return Ok(());
    }
    let detail = format!("it costs {cost} bytes, and {left} are left in this month");
    Err(Setback::refused(ReleaseRefusal::Budget, detail))
}

/// Whether so many bytes may come of an archive of `whole` bytes.
pub(crate) fn allows_of(allowance: &Allowance, cost: u64, whole: u64) -> Result<(), Setback> {
    if !allowance.never_whole || cost <= whole / 2 {
        return Ok(());
    }
    let detail = format!(
        "{cost} of {whole} bytes would have to come, and releases.never_whole forbids more than half"
    );
    Err(Setback::refused(ReleaseRefusal::Budget, detail))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use noderr_protocol::HexDigest;
    use noderr_protocol::release::{Archive, Content};

    fn manifest() -> Manifest {
        let digest = HexDigest([1; 32]);
        Manifest::new(
            "models/btc/1.0.0".parse().unwrap(),
            Content { bytes: 1, sha256: digest },
            Archive { bytes: 1, sha256: digest, index_bytes: 1, index_sha256: digest },
            String::new(),
        )
    }

    pub(crate) fn named(release: &str, security_epoch: u32) -> Manifest {
        let mut manifest = manifest();
        (manifest.release, manifest.security_epoch) = (release.parse().unwrap(), security_epoch);
        manifest
    }

    fn why(result: Result<(), Setback>) -> ReleaseRefusal {
        match result.unwrap_err() {
            Setback::Refused { why, .. } => why,
            passing => panic!("{passing:?}"),
        }
    }

    #[test]
    fn a_release_for_others_is_left_to_them() {
        let this =
            ThisBox { hardware: vec!["aarch64".to_owned(), "pi5".to_owned()], tier: Some(Tier::Oracle) };
        let mut manifest = manifest();
        assert!(fits(&manifest, &this).is_ok());
        manifest.hardware = vec!["x86_64".parse().unwrap()];
        assert_eq!(why(fits(&manifest, &this)), ReleaseRefusal::Hardware);
        manifest.hardware.push("pi5".parse().unwrap());
        assert!(fits(&manifest, &this).is_ok());
        manifest.tiers = vec!["guardian".parse().unwrap()];
        assert_eq!(why(fits(&manifest, &this)), ReleaseRefusal::Tier);
    }

    #[test]
    fn what_is_required_is_there_in_that_version_or_a_later_one() {
        let one = Requirement { series: "os/generic".parse().unwrap(), at_least: "1.2.0".parse().unwrap() };
        for (held, is_enough) in [
            ("os/generic/1.2.0", true),
            ("os/generic/1.10.0", true),
            ("os/generic/1.1.9", false),
            ("os/other/2.0.0", false),
        ] {
            assert_eq!(meets(&one, &held.parse().unwrap()), is_enough, "{held}");
        }
    }

    #[test]
    fn a_month_ends_where_its_bytes_do_and_nothing_comes_whole_where_it_must_not() {
        let month = Allowance { month_bytes: Some(1000), never_whole: false };
        assert!(allows(&month, 400, 600).is_ok());
        assert_eq!(why(allows(&month, 400, 601)), ReleaseRefusal::Budget);
        assert_eq!(why(allows(&month, 2000, 1)), ReleaseRefusal::Budget);
        let parts = Allowance { month_bytes: None, never_whole: true };
        assert!(allows_of(&parts, 500, 1000).is_ok());
        assert_eq!(why(allows_of(&parts, 501, 1000)), ReleaseRefusal::Budget);
    }
}
