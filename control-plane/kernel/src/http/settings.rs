//! The settings of the HTTP API.

use crate::settings::Settings;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::SocketAddr;

/// `[http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// The address on which the API listens.
    pub listen: SocketAddr,
    /// How people and nodes reach the API; shown in links and the OpenAPI document.
    pub public_url: String,
    /// Host names and addresses in the server's certificate, for the API and the broker.
    pub names: Vec<String>,
    /// Networks of the proxies before the API, which say whose connections they pass on (PROXY protocol).
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address; under IPv6 from one /64 network.
    pub connections_per_address: usize,
    /// Requests a second of one principal, sustained; a burst of ten times as many is allowed on top.
    pub requests_per_s: u32,
    /// Requests a second of one address that carry no credential that counts, sustained; a burst of ten times as many is
    /// allowed on top.
    pub strangers_per_s: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            public_url: "https://localhost:8443".to_owned(),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            trusted_proxies: Vec::new(),
            connections: 2048,
            connections_per_address: 128,
            requests_per_s: 100,
            strangers_per_s: 50,
        }
    }
}

impl Settings for HttpSettings {
    const SECTION: &'static str = "http";
    const EXAMPLE: &'static str = include_str!("settings.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.names.is_empty(), "http.names must name at least one host name or address");
        anyhow::ensure!(
            self.public_url.starts_with("https://"),
            "http.public_url `{}` must begin with https://: nodes speak nothing else",
            self.public_url
        );
        for (field, value) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("requests_per_s", self.requests_per_s as usize),
            ("strangers_per_s", self.strangers_per_s as usize),
        ] {
            anyhow::ensure!(value > 0, "http.{field} must not be 0");
        }
        Ok(())
    }
}
