//! Bodies of sections: golden bytes, one file for each version of each kind.

use noderr_protocol::release::{
    Hardware, NamedRelease, RefusedRelease, ReleaseName, ReleaseRefusal, ReleaseReport, ReleaseState,
    Releases, ReleasesReport, Tier, Transfer,
};
use noderr_protocol::{Base, Quarantine, SectionBody, Text};
use std::fmt::Debug;
use std::fs;

/// Do not change these files: boxes in the field read them.
#[test]
fn every_version_of_a_section_is_what_it_always_was() {
    let golden = hex::decode(include_str!("golden/section-base-v1.hex").trim()).unwrap();
    let base = Base { paused: true, sample_every_s: 300 };
    assert_eq!(*base.section().unwrap().body, golden);
    assert_eq!(Base::of(&golden), Ok(base));
    for len in 0..golden.len() {
        assert!(Base::of(&golden[..len]).is_err(), "cut at {len}");
    }
    assert!(Base::of(&[&golden[..], &[0]].concat()).is_err(), "something is behind it");
}

#[test]
fn the_quarantine_section_is_what_it_always_was() {
    let golden = hex::decode(include_str!("golden/section-quarantine-v1.hex").trim()).unwrap();
    let quarantine = Quarantine { why: Text::truncated("registers have changed") };
    assert_eq!(quarantine.section().unwrap().body.to_vec(), golden);
    assert_eq!(Quarantine::of(&golden), Ok(quarantine));
    for len in 0..golden.len() {
        assert!(Quarantine::of(&golden[..len]).is_err(), "cut at {len}");
    }
}

/// Compares with a golden file, or writes the file if it is new and that is asked for.
fn golden<T: SectionBody + Debug + PartialEq>(name: &str, body: &T) {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let written = body.section().expect("it fits").body.to_vec();
    if !fs::exists(&path).expect("a path") && std::env::var_os("NODERR_WRITE_MISSING_GOLDEN").is_some() {
        fs::write(&path, hex::encode(&written) + "\n").expect("written");
    }
    let golden = hex::decode(fs::read_to_string(&path).expect("a golden file").trim()).expect("hex");
    assert_eq!(written, golden);
    assert_eq!(T::of(&golden).as_ref(), Ok(body));
    for len in 0..golden.len() {
        assert!(T::of(&golden[..len]).is_err(), "cut at {len}");
    }
}

fn named(release: &str) -> NamedRelease {
    NamedRelease::from(&release.parse::<ReleaseName>().expect("a name"))
}

#[test]
fn the_section_about_releases_is_what_it_always_was() {
    let wanted = vec![named("os/generic/1.4.0"), named("models/btc-oracle/2.0.0-rc.1")];
    let tier = Some(Tier::Oracle);
    golden("section-releases-v1", &Releases { tier, wanted: wanted.try_into().unwrap() });
}

#[test]
fn the_report_on_releases_is_what_it_always_was() {
    let report = |release: &str, state| ReleaseReport {
        release: named(release),
        runs: Some(Text::truncated("1.3.9")),
        state,
    };
    let refused =
        RefusedRelease { why: ReleaseRefusal::NotSigned, detail: Text::truncated("one key of two") };
    let transfer = Transfer { fetched_bytes: 1000, cost_bytes: 70_000 };
    let releases = vec![
        report("os/generic/1.4.0", ReleaseState::Waiting(Text::truncated("nobody answers"))),
        report("os/generic/1.4.1", ReleaseState::Fetching(transfer)),
        report("models/a/1.0.0", ReleaseState::Held),
        report("models/b/1.0.0", ReleaseState::Refused(refused)),
        report("models/c/1.0.0", ReleaseState::Looking),
        report("models/d/1.0.0", ReleaseState::Checking),
    ];
    let report = ReleasesReport { releases: releases.try_into().unwrap(), month_bytes: 123_456 };
    golden("section-report-v1", &report);
}

#[test]
fn the_fact_about_hardware_is_what_it_always_was() {
    let words = vec![Text::truncated("x86_64"), Text::truncated("pi5")];
    golden("section-hardware-v1", &Hardware { words: words.try_into().expect("two") });
}
