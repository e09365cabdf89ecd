//! The warmest thermal zone.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;

pub(super) fn probe() -> Probe {
    Box::new(|sample| sample.with(Metric::Temperature, temperature()))
}

/// Tenths of a degree Celsius; `None` where the box has no sensor.
fn temperature() -> Option<i16> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?;
    zones
        .flatten()
        .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
        .filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok())
        .filter_map(|millidegrees| i16::try_from(millidegrees / 100).ok())
        .max()
}
