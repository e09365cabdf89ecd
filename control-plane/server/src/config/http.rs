//! The HTTP API.

use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// How people and nodes reach it; shown in links and the OpenAPI document.
    pub(crate) public_url: String,
    /// Host names and addresses in the server's certificate, for the API and the broker.
    pub(crate) names: Vec<String>,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Connections at once from one address; under IPv6 from one /64 network.
    pub(crate) connections_per_address: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            public_url: "https://localhost:8443".to_owned(),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            connections: 2048,
            connections_per_address: 128,
        }
    }
}
