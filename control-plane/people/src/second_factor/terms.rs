//! What this feature declares for the rest of the program: kinds of problems.

use noderr_kernel::Kind;

pub(super) const CODE_REQUIRED: Kind = Kind::new(
    401,
    "code-required",
    "this account has a second factor: send its code of the moment as `code`",
);

pub(super) const CODE_WRONG: Kind = Kind::new(
    401,
    "code-wrong",
    "the code is wrong, or was used already: wait for the next one; are the clocks of both sides right?",
);

pub(super) const HAS_FACTOR: Kind =
    Kind::new(409, "second-factor", "this account has a second factor; remove it first");
