//! What this feature calls things.

use noderr_kernel::Kind;

pub(super) const WITHDRAWN: Kind = Kind::new(409, "release-withdrawn", "the release was withdrawn");
pub(super) const ARCHIVE_REMOVED: Kind =
    Kind::new(409, "archive-removed", "the archive of the release was removed, because nobody used it");
pub(super) const NOT_FOR_CHANNEL: Kind =
    Kind::new(409, "release-not-for-channel", "the release is not meant for everybody in the channel");
pub(super) const NO_CHANNEL: Kind = Kind::new(422, "no-such-channel", "there can be no such channel");

pub(super) const PROBLEMS: &[Kind] = &[WITHDRAWN, ARCHIVE_REMOVED, NOT_FOR_CHANNEL, NO_CHANNEL];
