//! The settings of the MQTT broker, which is embedded unless an external broker is named.

use anyhow::Context as _;
use ipnet::IpNet;
use noderr_broker::Rates;
use noderr_front::Rate;
use noderr_kernel::Settings;
use noderr_protocol::{HostPort, Topics};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[broker]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSettings {
    /// The address on which the embedded broker listens.
    pub listen: SocketAddr,
    /// Host and port that nodes are told at enrolment.
    pub public_address: Option<String>,
    /// Topic prefix of the network.
    pub prefix: String,
    /// Packets a second that the embedded broker takes of one node; above the rate, the broker reads no
    /// further.
    pub node_packets_per_s: u32,
    /// Kibibytes a second of reports that the embedded broker takes of one node, sustained.
    pub node_kib_per_s: u32,
    /// Mebibytes of reports that a node may send at once, on top of that rate: records buffered while the
    /// node was offline.
    pub node_burst_mib: u32,
    /// Networks of the proxies before the embedded broker, which say whose connections they pass on (PROXY protocol).
    pub trusted_proxies: Vec<IpNet>,
    /// An external MQTT broker instead of the embedded one.
    pub external: Option<ExternalSettings>,
}

/// A broker somewhere else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSettings {
    /// Host name, as the broker's certificate has it.
    pub host: String,
    /// TLS port.
    pub port: u16,
    /// File with the certificates to trust, PEM; the network's own root if absent.
    pub roots: Option<PathBuf>,
    /// Where to keep the list of revoked certificates for the broker to read.
    pub revocation_list: Option<PathBuf>,
}

impl Settings for BrokerSettings {
    const SECTION: &'static str = "broker";
    const EXAMPLE: &'static str = include_str!("broker.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        self.address_of_nodes().parse::<HostPort>().context("broker.public_address")?;
        self.topics()?;
        Ok(())
    }
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8883)),
            public_address: None,
            prefix: Topics::DEFAULT_PREFIX.to_owned(),
            node_packets_per_s: 2000,
            node_kib_per_s: 64,
            node_burst_mib: 32,
            trusted_proxies: Vec::new(),
            external: None,
        }
    }
}

impl BrokerSettings {
    /// What one node may cost.
    pub fn rates(&self) -> Rates {
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

    /// The network's topics.
    pub fn topics(&self) -> anyhow::Result<Topics> {
        Topics::new(&self.prefix).with_context(|| {
            format!("broker.prefix `{}` must start with / and hold no wildcard", self.prefix)
        })
    }

    /// Where nodes find the broker: what is said, or else where an external broker is, or this machine.
    pub fn address_of_nodes(&self) -> String {
        match (&self.public_address, &self.external) {
            (Some(address), _) => address.clone(),
            (None, Some(external)) => format!("{}:{}", external.host, external.port),
            (None, None) => "localhost:8883".to_owned(),
        }
    }
}
