//! The suite: what must hold, each with real parts. One binary, so that it links once.

mod first_light;

use noderr_hil::{Lab, LabOptions};
use std::time::Duration;

/// How long anything that should happen soon may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A lab in a folder of its own. The folder must be one that PostgreSQL's user can reach.
async fn lab(options: LabOptions) -> anyhow::Result<(tempfile::TempDir, Lab)> {
    let folder = tempfile::Builder::new().prefix("noderr-").tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let lab = Lab::start(folder.path(), options, |_| {}).await?;
    Ok((folder, lab))
}
