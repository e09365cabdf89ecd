//! Kinds of problems, and the kinds that any request may meet, whatever the feature.

/// A kind of problem: HTTP status, name for programs, and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// HTTP status.
    pub status: u16,
    /// Stable name.
    pub name: &'static str,
    /// The meaning in a sentence; also the detail, where a case has no detail of its own.
    pub meaning: &'static str,
}

impl Kind {
    /// A kind.
    pub const fn new(status: u16, name: &'static str, meaning: &'static str) -> Self {
        Self { status, name, meaning }
    }
}

/// All kinds of this file.
pub const ALL: &[Kind] = &[
    BODY,
    QUERY,
    PATH,
    VALUE,
    TOO_LARGE,
    MEDIA_TYPE,
    UNAUTHORISED,
    PERMISSION,
    NOT_A_SESSION,
    NOT_AN_ADMIN,
    PROOF_REQUIRED,
    NOT_FOUND,
    PAGE,
    METHOD,
    THROTTLED,
    IDEMPOTENCY_KEY,
    KEY_REUSED,
    ALREADY_MADE,
    DATABASE,
    INTERNAL,
    TOO_SLOW,
];

/// The body is not what the request takes.
pub const BODY: Kind = Kind::new(400, "body", "the body is not what this request takes");
/// A query parameter is wrong or unknown.
pub const QUERY: Kind = Kind::new(400, "query", "a query parameter is wrong or unknown here");
/// A path segment is not what it should be.
pub const PATH: Kind = Kind::new(400, "path", "a part of the path is not what it should be");
/// A value cannot be stored.
pub const VALUE: Kind =
    Kind::new(400, "value", "a value of the request cannot be stored: a control character, or out of range");
/// The body is too large.
pub const TOO_LARGE: Kind = Kind::new(
    413,
    "too-large",
    "the body is larger than this request takes (64 KiB, where its description says nothing else)",
);
/// The content type of the body is not JSON.
pub const MEDIA_TYPE: Kind =
    Kind::new(415, "media-type", "send the body as application/json, and say so in content-type");
/// The request has no credential that counts.
pub const UNAUTHORISED: Kind =
    Kind::new(401, "unauthorised", "the request carries no credential that counts");
/// The principal may not do this.
pub const PERMISSION: Kind = Kind::new(403, "permission", "you may not do this");
/// A token was used where a session is needed.
pub const NOT_A_SESSION: Kind = Kind::new(
    403,
    "not-a-session",
    "this request was made with an API token; it is for people who have logged in",
);
/// An operator asked for what is for administrators.
pub const NOT_AN_ADMIN: Kind = Kind::new(403, "not-an-admin", "this request is for administrators");
/// A fresh proof is needed.
pub const PROOF_REQUIRED: Kind = Kind::new(
    403,
    "proof-required",
    "this cannot be undone, and you have not proven in the last minutes who you are: send password and code to \
     /sessions/current/proof first",
);
/// The thing does not exist, or the principal may not see it.
pub const NOT_FOUND: Kind = Kind::new(404, "not-found", "there is no such thing, or it is not yours to see");
/// There is no page behind this cursor.
pub const PAGE: Kind =
    Kind::new(404, "page", "`after` is not the `next` of an earlier page of this list; begin without it");
/// The route does not know the method.
pub const METHOD: Kind = Kind::new(405, "method", "this path does not know that method");
/// Too many requests.
pub const THROTTLED: Kind = Kind::new(429, "throttled", "too many requests; wait");
/// The idempotency key is malformed.
pub const IDEMPOTENCY_KEY: Kind =
    Kind::new(400, "idempotency-key", "an Idempotency-Key has 1 to 200 visible ASCII characters");
/// The idempotency key was used for another request.
pub const KEY_REUSED: Kind =
    Kind::new(409, "key-reused", "this Idempotency-Key was used for another request; choose a fresh one");
/// The request was done already, and its answer held a secret.
pub const ALREADY_MADE: Kind = Kind::new(
    409,
    "already-made",
    "this was done already; its answer held a secret, which is not kept: revoke what was made, and make another",
);
/// The database is away.
pub const DATABASE: Kind = Kind::new(503, "database", "the database is not available; try again shortly");
/// A fault of the control plane.
pub const INTERNAL: Kind = Kind::new(500, "internal", "this is a fault of the control plane; it is logged");
/// No answer in time.
pub const TOO_SLOW: Kind =
    Kind::new(504, "too-slow", "no answer in time; ask for less at once, or again later");
