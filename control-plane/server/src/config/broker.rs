//! The MQTT broker: embedded unless an external one is named.

use anyhow::Context as _;
use noderr_protocol::Topics;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Broker {
    /// Where the embedded broker listens.
    pub(crate) listen: SocketAddr,
    /// Host and port that nodes are told at enrolment.
    pub(crate) public_address: String,
    /// Topic prefix of the network.
    pub(crate) prefix: String,
    /// An external MQTT broker instead of the embedded one.
    pub(crate) external: Option<ExternalBroker>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalBroker {
    /// Host name, as its certificate has it.
    pub(crate) host: String,
    /// TLS port.
    pub(crate) port: u16,
    /// Whom to trust, PEM; the network's own root if absent.
    pub(crate) roots: Option<PathBuf>,
    /// Where to keep the list of revoked certificates for the broker to read.
    pub(crate) revocation_list: Option<PathBuf>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8883)),
            public_address: "localhost:8883".to_owned(),
            prefix: "/tenants".to_owned(),
            external: None,
        }
    }
}

impl Broker {
    pub(crate) fn topics(&self) -> anyhow::Result<Topics> {
        Topics::new(&self.prefix).with_context(|| {
            format!("broker.prefix `{}` must start with / and hold no wildcard", self.prefix)
        })
    }
}
