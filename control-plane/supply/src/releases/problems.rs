//! Problems that only releases have.

use noderr_kernel::Kind;

pub(super) const NOT_FIT: Kind =
    Kind::new(422, "release-not-fit", "what was signed is not fit to be handed out");
pub(super) const NO_ARCHIVE: Kind =
    Kind::new(409, "archive-missing", "an archive that a release names was not uploaded");
pub(super) const ANOTHER_PART: Kind = Kind::new(409, "upload-offset", "the upload goes on at another place");
pub(super) const NOT_THE_ARCHIVE: Kind =
    Kind::new(422, "archive-mismatch", "what was uploaded has another hash");
pub(super) const TOO_LARGE: Kind =
    Kind::new(413, "archive-too-large", "the archive is larger than one may be");

pub(super) const ALL: &[Kind] = &[NOT_FIT, NO_ARCHIVE, ANOTHER_PART, NOT_THE_ARCHIVE, TOO_LARGE];
