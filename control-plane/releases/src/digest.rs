//! The digest that names and pins whatever is published.

/// The SHA-256 of bytes, as metadata writes it.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes))
}
