//! The fastest fan.

use super::Probe;
use noderr_protocol::Metric;
use std::fs;
use std::path::Path;

pub(super) fn probe() -> Probe {
    Box::new(|sample| sample.with(Metric::FanSpeed, fastest(Path::new("/sys/class/hwmon"))))
}

/// The speed of the fastest fan in turns a minute; `None` where no fan reports its speed.
fn fastest(hwmon: &Path) -> Option<u32> {
    let chips = fs::read_dir(hwmon).ok()?;
    let files = chips.flatten().filter_map(|chip| fs::read_dir(chip.path()).ok()).flatten().flatten();
    files
        .filter(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            name.starts_with("fan") && name.ends_with("_input")
        })
        .filter_map(|file| fs::read_to_string(file.path()).ok()?.trim().parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_of_all_chips_counts() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(fastest(place.path()), None);
        for (file, turns) in [
            ("hwmon0/fan1_input", "900\n"),
            ("hwmon1/fan2_input", "1400\n"),
            ("hwmon1/temp1_input", "52000\n"),
        ] {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, turns).unwrap();
        }
        assert_eq!(fastest(place.path()), Some(1400));
    }
}
