//! Where something listens, as people write it down: `host:port`.

use std::fmt;
use std::str::FromStr;

/// A host, by name or by address, and a port. An IPv6 address stands in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPort {
    /// The name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The text is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not host:port, as in control.example.org:8883 or [2001:db8::1]:8883")]
pub struct ParseHostPortError(String);

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = bracketed.unwrap_or(host);
            let plain = !host.is_empty() && host.contains(':') == bracketed.is_some();
            let port = port.parse().ok().filter(|port| *port > 0)?;
            plain.then(|| Self { host: host.to_owned(), port })
        };
        parse().ok_or_else(|| ParseHostPortError(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for text in ["control.example.org:8883", "127.0.0.1:1", "[2001:db8::1]:65535"] {
            assert_eq!(text.parse::<HostPort>().map(|parsed| parsed.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "host", "host:", ":8883", "host:0", "host:65536", "2001:db8::1:8883", "[host]:1", "[]:1"]
        {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
