//! The greatest security epoch of each series that this box has held. What is below is not taken, whatever has become of what was
//! held.

use crate::setback::Setback;
use noderr_part::{Document, Folder};
use noderr_protocol::release::{Manifest, ReleaseRefusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Greatest {
    epochs: BTreeMap<String, u32>,
}

impl Document for Greatest {
    const FILE: &str = "releases-epochs.json";
}

/// The epochs of a box.
pub(crate) struct Epochs {
    data: Arc<Folder>,
    greatest: Greatest,
}

impl Epochs {
    /// What was written down last. Waits for the disk.
    pub(crate) fn open(data: Arc<Folder>) -> Self {
        Self { greatest: data.read_or_default(), data }
    }

    /// Refuses a release that must never run again.
    pub(crate) fn allow(&self, manifest: &Manifest) -> Result<(), Setback> {
        let series = manifest.release.series.to_string();
        let greatest = self.greatest.epochs.get(&series).copied().unwrap_or_default();
        if manifest.security_epoch >= greatest {
            return Ok(());
        }
        let epoch = manifest.security_epoch;
        let detail = format!("its security epoch is {epoch}, and this box has held {series} with {greatest}");
        Err(Setback::refused(ReleaseRefusal::Epoch, detail))
    }

    /// Notes what is held, before anybody hears that it is.
    pub(crate) async fn raise(&mut self, manifest: &Manifest) -> Result<(), Setback> {
        let series = manifest.release.series.to_string();
        if manifest.security_epoch <= self.greatest.epochs.get(&series).copied().unwrap_or_default() {
            return Ok(());
        }
        let mut greatest = self.greatest.clone();
        greatest.epochs.insert(series, manifest.security_epoch);
        let written = self.data.write_on_disk(greatest.clone()).await;
        written.map_err(|error| Setback::Passing(error.to_string()))?;
        self.greatest = greatest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::named;

    #[tokio::test]
    async fn what_must_never_run_again_is_not_taken_after_a_start_either() {
        let place = tempfile::tempdir().unwrap();
        let data = Arc::new(Folder::open(place.path()).unwrap());
        let mut epochs = Epochs::open(data.clone());
        assert!(epochs.allow(&named("os/generic/1.0.0", 0)).is_ok());
        epochs.raise(&named("os/generic/1.1.0", 2)).await.unwrap();
        epochs.raise(&named("os/generic/1.2.0", 1)).await.unwrap();
        let again = Epochs::open(data);
        for (release, epoch, is_taken) in
            [("os/generic/9.0.0", 1, false), ("os/generic/0.1.0", 2, true), ("os/other/1.0.0", 0, true)]
        {
            assert_eq!(again.allow(&named(release, epoch)).is_ok(), is_taken, "{release}");
        }
    }
}
