//! The given root: the root of releases that this box starts from, by its configuration, or the one that a control plane gave it at its
//! enrolment, sealed by the box's own key. What lies in the data folder without that seal was put there by somebody else.

use crate::shared::Shared;
use anyhow::Context as _;
use noderr_identity::TrustRoots;
use noderr_part::{Document, DocumentError, Folder, read_file};
use noderr_protocol::Base64;
use noderr_update::{Fetcher, Reach, check_root};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The largest root that is taken.
const LARGEST: u64 = 256 * 1024;
/// What a seal of a given root is for. The words are part of what is signed.
const PURPOSE: &str = "first root of releases";

/// The given root, and the box's seal.
#[derive(Serialize, Deserialize)]
struct SealedRoot {
    root: String,
    seal: Base64,
}

impl Document for SealedRoot {
    const FILE: &str = "releases/root.json";
}

/// The root that this box was given, if it was given one. Waits for the disk and the keys.
pub(super) async fn given_root(shared: &Shared) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(path) = shared.config.releases.root.clone() {
        let read = shared.data.on_disk(move |_| anyhow::Ok(configured(&path)?)).await;
        return read.map(Some);
    }
    let keys = shared.keys.clone();
    let kept = shared.data.on_disk(move |folder| {
        let mut sealed = Vec::new();
        for copy in folder.read_copies::<SealedRoot>() {
            if keys.has_sealed(PURPOSE, copy.root.as_bytes(), &copy.seal.0)? {
                sealed.push(copy);
            } else {
                tracing::error!(
                    "a root of releases in the data folder was put there by somebody else; it is not taken"
                );
            }
        }
        // What the disk has spoilt of the two stands there twice again.
        if let [only] = &sealed[..]
            && let Err(error) = twice(folder, only)
        {
            tracing::warn!(%error, "the root of releases has one copy on the disk");
        }
        anyhow::Ok(sealed.into_iter().next().map(|sealed| sealed.root))
    });
    if let Some(root) =
        kept.await.context("whether this box has sealed the root of releases cannot be said")?
    {
        return Ok(Some(root.into_bytes()));
    }
    let given = shared.papers.borrow().enrolment.release_root.clone();
    let Some(given) = given else { return Ok(None) };
    keep(shared, given.clone()).await?;
    Ok(Some(given.into_bytes()))
}

fn configured(path: &Path) -> anyhow::Result<Vec<u8>> {
    // An image may show the file by a link.
    let file = fs::canonicalize(path).and_then(|path| read_file(&path, LARGEST));
    file.with_context(|| format!("releases.root: cannot read {}", path.display()))
}

/// A box that was enrolled before the network had releases asks whom it was enrolled by, as its configuration names them: papers on the
/// disk vouch for nobody here.
pub(super) async fn ask_for_root(shared: &Shared, reach: Reach) -> anyhow::Result<()> {
    let roots = TrustRoots::from_pem(&shared.config.roots_pem()?).context("in control_plane.roots")?;
    let base = shared.config.control_plane.url.trim_end_matches('/');
    let fetcher = Fetcher::new(Arc::new(roots.client_config(&shared.clock)?), reach);
    let root = fetcher.all(&format!("{base}/releases/metadata/1.root.json"), LARGEST).await;
    let root = root.context("this box has no root of releases yet")?;
    keep(shared, String::from_utf8(root).context("a root of releases is JSON")?).await
}

/// Keeps the given root: no later enrolment gives the box another. What is no root, signed by its own keys, is not kept: it would be
/// the one for ever.
async fn keep(shared: &Shared, root: String) -> anyhow::Result<()> {
    let keys = shared.keys.clone();
    let kept = shared.data.on_disk(move |folder| {
        check_root(root.as_bytes())?;
        let seal = Base64(keys.seal(PURPOSE, root.as_bytes())?);
        fs::create_dir_all(folder.root().join("releases"))?;
        anyhow::Ok(twice(folder, &SealedRoot { root, seal })?)
    });
    kept.await.context("the root of releases cannot be kept")
}

/// Writes the given root twice, so that there is a copy: nobody is asked for it again whom the papers name, and not the configuration.
fn twice(folder: &Folder, sealed: &SealedRoot) -> Result<(), DocumentError> {
    folder.write(sealed)?;
    folder.write(sealed)
}
