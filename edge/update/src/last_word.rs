//! What a box goes by that can ask nobody: what the release keys said last, held against what is here.

use crate::folders::{store_in, trust_folder};
use crate::judge::{Judge, LIMITS, Verdict};
use crate::known::Known;
use crate::setback::Setback;
use crate::settings::{Clock, Settings};
use crate::trust::Trust;
use noderr_part::Folder;
use noderr_protocol::release::ReleaseName;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// What the release keys said last.
pub struct LastWord(Judge);

impl LastWord {
    /// What was [learned](crate::Round::learn) last. `root` is the root that the box was given.
    pub async fn open(
        data: Arc<Folder>,
        settings: Settings,
        root: &[u8],
        known: Known,
    ) -> Result<Self, Setback> {
        let held = store_in(&data, settings.store).held_folder();
        let trust = Trust::of_last_word(&trust_folder(&data), held, root, LIMITS)?;
        // The last word does not end.
        let clock: Clock = Arc::new(|| UNIX_EPOCH);
        let mut judge = Judge::new(data, &settings, trust, clock, known).await?;
        judge.ask().await?;
        Ok(Self(judge))
    }

    /// Whether a release is held, and is what was signed and built by those who may. Waits for the disk.
    pub async fn is_held(&mut self, release: &ReleaseName) -> bool {
        matches!(self.0.judge(release).await, Ok(Verdict::Held))
    }
}
