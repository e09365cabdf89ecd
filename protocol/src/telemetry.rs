//! The table of metrics: one line adds a metric. The sample, the database's column, what the API shows and what `noderrctl`
//! prints follow from it. A number or a name is never given a second meaning.

use crate::{List, UnixMillis};
use serde::{Deserialize, Serialize};

macro_rules! is_listed {
    (listed) => {
        true
    };
    (aside) => {
        false
    };
}

macro_rules! metrics {
    ($($variant:ident = $id:literal, $name:literal, $unit:literal, $listed:ident, $about:literal;)*) => {
        /// Something that a box can measure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $(#[doc = $about] $variant,)* }

        impl Metric {
            /// Every metric that there is, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number of the metric on the wire.
            pub const fn id(self) -> u16 {
                match self { $(Self::$variant => $id,)* }
            }

            /// The name of the metric: the database's column and the API's field.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The unit, as the head of a column shows it.
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// Whether a table shows the metric unless asked otherwise.
            pub const fn is_listed(self) -> bool {
                match self { $(Self::$variant => is_listed!($listed),)* }
            }

            /// What the metric is, in a sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

metrics! {
    Uptime = 1, "uptime_s", "s", listed, "Seconds since the box booted";
    Cpu = 2, "cpu_permille", "‰", listed, "Busy share of all cores since the last sample, in thousandths";
    MemoryUsed = 3, "memory_used_kib", "KiB", listed, "Memory in use";
    MemoryTotal = 4, "memory_total_kib", "KiB", aside, "Memory there is";
    DiskUsed = 5, "disk_used_kib", "KiB", listed, "Disk of the data folder in use";
    DiskTotal = 6, "disk_total_kib", "KiB", aside, "Disk of the data folder";
    Temperature = 7, "temperature_decicelsius", "0.1 °C", listed, "The warmest sensor, in tenths of a degree Celsius";
    NetworkReceived = 8, "network_rx_bytes", "B", aside, "Bytes received on all interfaces but loopback since boot";
    NetworkSent = 9, "network_tx_bytes", "B", aside, "Bytes sent on all interfaces but loopback since boot";
    ClockOffset = 10, "clock_offset_ms", "ms", listed, "The box's own clock against the control plane's";
    TpmCommands = 11, "tpm_commands", "", aside, "TPM commands answered since the process started";
    TpmFailures = 12, "tpm_failures", "", aside, "TPM commands that failed or timed out since the process started";
    LinkConnects = 13, "link_connects", "", aside, "Sessions with the broker that were established since the process started";
    LinkRoundTrip = 14, "link_rtt_ms", "ms", aside, "From sending records to hearing that they are committed, as last seen";
    SpoolRecords = 15, "spool_records", "", listed, "Records that wait in the spool";
    SpoolLost = 16, "spool_lost", "", listed, "Records dropped by budget or damage since the spool was made";
    FanSpeed = 17, "fan_rpm", "rpm", listed, "The fastest fan, in turns a minute";
    Throttled = 18, "throttle_events", "", listed, "Times that the processor slowed itself down for heat since boot";
}

impl Metric {
    /// The metric of this number, if this build knows it.
    pub fn of_id(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.id() == id)
    }
}

/// One look at the box: the metrics that the box could measure. Those that the box lacks are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TelemetrySample {
    /// When the sample was taken.
    pub time: UnixMillis,
    /// The measurements, each metric at most once.
    pub values: List<Measured, 128>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Number of the metric.
    pub metric: u16,
    /// The measured value, in the metric's unit.
    pub value: i64,
}

impl TelemetrySample {
    /// An empty sample.
    pub fn at(time: UnixMillis) -> Self {
        Self { time, ..Self::default() }
    }

    /// Adds a measurement, if `value` is one.
    #[must_use]
    pub fn with(mut self, metric: Metric, value: Option<impl TryInto<i64>>) -> Self {
        if let Some(value) = value {
            let value = value.try_into().unwrap_or(i64::MAX);
            // The table has fewer lines than the list has room.
            _ = self.values.push(Measured { metric: metric.id(), value });
        }
        self
    }

    /// The value of one metric, if it was measured.
    pub fn get(&self, metric: Metric) -> Option<i64> {
        self.values.iter().find(|measured| measured.metric == metric.id()).map(|measured| measured.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_given_once_and_fit_a_sample() {
        let ids: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.id()).collect();
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!((ids.len(), names.len()), (Metric::ALL.len(), Metric::ALL.len()));
        let full = Metric::ALL
            .iter()
            .fold(TelemetrySample::at(0), |sample, metric| sample.with(*metric, Some(1_i64)));
        assert_eq!(full.values.len(), Metric::ALL.len());
        for name in names {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
        }
    }
}
