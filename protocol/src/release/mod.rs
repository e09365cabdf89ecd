//! Releases: what they are called, the manifest that says what each is, and what a node is told to hold and says of it.

mod beacon;
mod layout;
mod manifest;
mod name;
mod wanted;

pub use beacon::{ALL_TIERS, ANY_HARDWARE, Active, Beacon, MAX_BEACON};
pub use layout::{BEACON_FILE, TIMESTAMP_FILE, metadata_file, object_file, target_file};
pub use manifest::{
    Archive, BUILDERS, Builders, Content, MAX_INDEX, MAX_MANIFEST, Manifest, ManifestError, Requirement,
};
pub use name::{ReleaseKind, ReleaseName, ReleaseNameError, Series, Tier, Word};
pub use wanted::{
    Hardware, MOST_RELEASES, NamedRelease, RefusedRelease, ReleaseRefusal, ReleaseReport, ReleaseState,
    Releases, ReleasesReport, Transfer,
};
