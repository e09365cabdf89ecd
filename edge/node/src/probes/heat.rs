//! How often the processor has slowed itself down for heat.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;
use std::path::Path;

pub(super) fn probe() -> Probe {
    Box::new(|sample| sample.with(Metric::Throttled, slowed_down(Path::new("/sys/devices/system/cpu"))))
}

/// How often the processor slowed itself down, over all cores since boot; `None` where the processor does not
/// count.
fn slowed_down(cpus: &Path) -> Option<u64> {
    let counts = fs::read_dir(cpus)
        .ok()?
        .flatten()
        .filter_map(|cpu| fs::read_to_string(cpu.path().join("thermal_throttle/core_throttle_count")).ok())
        .filter_map(|count| count.trim().parse::<u64>().ok());
    counts.fold(None, |sum, count| Some(sum.unwrap_or_default() + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_count_and_a_processor_that_does_not_count_says_nothing() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(slowed_down(place.path()), None);
        for (cpu, count) in [("cpu0", "3\n"), ("cpu1", "4\n"), ("cpufreq", "")] {
            let folder = place.path().join(cpu).join("thermal_throttle");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("core_throttle_count"), count).unwrap();
        }
        assert_eq!(slowed_down(place.path()), Some(7));
    }
}
