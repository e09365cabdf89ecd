//! What releases say of themselves, and what nodes say of releases: whatever is read is written, and read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noderr_protocol::SectionBody;
use noderr_protocol::release::{Builders, Manifest, ReleaseName, Releases, ReleasesReport};

fn round_trip<T: SectionBody + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(body) = T::of(bytes) {
        let again = body.section().expect("what was read fits");
        assert_eq!(T::of(&again.body).as_ref(), Ok(&body));
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::read(bytes) {
        let again = manifest.to_bytes().expect("what was read holds together");
        assert_eq!(Manifest::read(&again), Ok(manifest));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(name) = text.parse::<ReleaseName>()
    {
        assert_eq!(name.to_string(), text, "a release has one name");
    }
    drop(serde_json::from_slice::<Builders>(bytes));
    round_trip::<Releases>(bytes);
    round_trip::<ReleasesReport>(bytes);
});
