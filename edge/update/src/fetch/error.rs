//! Why bytes did not come.

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be asked.
    #[error("`{0}` is not an address that can be asked")]
    Address(String),
    /// The address leads to what only the box can reach.
    #[error(
        "{0} leads into the network that the box stands in; a mirror at home needs releases.private_places = true"
    )]
    Inside(String),
    /// Nobody answers there, or the server's certificate is not of those that are trusted.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The server was silent or slow for too long.
    #[error("{0} is too slow")]
    TooSlow(String),
    /// The server does not have it.
    #[error("{0} is not there")]
    NotThere(String),
    /// Something else than what was asked for.
    #[error("{address} answers {status}")]
    Answers {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is another part than the one that was asked for, or ends before its end.
    #[error("{0} does not answer what it was asked")]
    NotAsked(String),
    /// The answer goes on beyond its bound.
    #[error("{address} has more than {bound} bytes to say")]
    TooLong {
        /// Where.
        address: String,
        /// The bound.
        bound: u64,
    },
}
