//! Bodies of sections: golden bytes, one file for each version of each kind.

use noderr_protocol::{Base, Quarantine, SectionBody, Text};

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
