//! The MQTT broker: embedded unless an external one is named.

use anyhow::Context as _;
use noderr_broker::{Rate, Rates};
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
    /// Packets a second that the embedded broker takes of one node; above it, it reads no further.
    pub(crate) node_packets_per_s: u32,
    /// Kibibytes a second of reports that it takes of one node, sustained.
    pub(crate) node_kib_per_s: u32,
    /// Mebibytes of reports at once, before that counts: what a node has buffered while it was offline.
    pub(crate) node_burst_mib: u32,
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
            node_packets_per_s: 2000,
            node_kib_per_s: 64,
            node_burst_mib: 32,
            external: None,
        }
    }
}

impl Broker {
    pub(crate) fn rates(&self) -> Rates {
        let per_second = self.node_packets_per_s;
        Rates {
            packets: Rate { per_second, burst: per_second.saturating_mul(2) },
            bytes: Rate {
                per_second: self.node_kib_per_s.saturating_mul(1 << 10),
                burst: self.node_burst_mib.saturating_mul(1 << 20),
            },
            ..Rates::default()
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        let address = self.public_address.rsplit_once(':');
        anyhow::ensure!(
            address.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
            "broker.public_address `{}` must be host:port",
            self.public_address
        );
        Ok(())
    }

    pub(crate) fn topics(&self) -> anyhow::Result<Topics> {
        Topics::new(&self.prefix).with_context(|| {
            format!("broker.prefix `{}` must start with / and hold no wildcard", self.prefix)
        })
    }
}
