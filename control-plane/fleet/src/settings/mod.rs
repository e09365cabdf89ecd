//! The sections of the configuration that this area reads, one file each.

mod authority;
mod broker;
mod enrolment;
mod telemetry;

pub use authority::AuthoritySettings;
pub use broker::BrokerSettings;
pub use enrolment::EnrolmentSettings;
pub use telemetry::TelemetrySettings;

pub(crate) use broker::ExternalSettings;
pub(crate) use enrolment::{EkAlgorithm, EkPolicy, OnChanged};

use noderr_kernel::Configuration;

/// All settings of this area.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// The network's name, as its certificates show it.
    pub network: String,
    /// `[authority]`.
    pub authority: AuthoritySettings,
    /// `[broker]`.
    pub broker: BrokerSettings,
    /// `[enrolment]`.
    pub enrolment: EnrolmentSettings,
    /// `[telemetry]`.
    pub telemetry: TelemetrySettings,
}

impl FleetSettings {
    /// Reads the settings of this area.
    pub fn read(configuration: &Configuration) -> anyhow::Result<Self> {
        let mut authority: AuthoritySettings = configuration.section()?;
        authority.folder.get_or_insert_with(|| configuration.base().data.join("authority"));
        Ok(Self {
            network: configuration.base().network.clone(),
            authority,
            broker: configuration.section()?,
            enrolment: configuration.section()?,
            telemetry: configuration.section()?,
        })
    }
}
