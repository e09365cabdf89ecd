//! The state that the features of this area share.

use crate::releases::Shelf;
use crate::settings::ReleasesSettings;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use noderr_kernel::{Configuration, Database, HasKernel, HttpSettings, Kernel};
use noderr_objects::Objects;
use noderr_releases::FileKey;
use std::path::PathBuf;
use std::sync::Arc;

/// The state of the area.
pub struct Supply {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    pub(crate) settings: ReleasesSettings,
    /// How boxes reach this control plane.
    pub(crate) public_url: String,
    pub(crate) objects: Objects,
    /// Where archives arrive, part by part.
    pub(crate) uploads: PathBuf,
    /// The online key: signs snapshots and timestamps, and nothing else.
    pub(crate) online: FileKey,
    /// What boxes are shown, in memory.
    pub(crate) shelf: ArcSwap<Shelf>,
}

impl Supply {
    /// Opens the state of the area.
    pub async fn open(kernel: Arc<Kernel>, configuration: &Configuration) -> anyhow::Result<Self> {
        let settings: ReleasesSettings = configuration.section()?;
        let http: HttpSettings = configuration.section()?;
        let data = &configuration.base().data;
        let folder = settings.folder.clone().unwrap_or_else(|| data.join("objects"));
        let uploads = data.join("uploads");
        std::fs::create_dir_all(&uploads).with_context(|| format!("cannot create {}", uploads.display()))?;
        let online = online_key(&kernel.database).await.context("cannot read the online key of releases")?;
        let shelf = Shelf::load(&kernel.database).await?;
        Ok(Self {
            objects: Objects::in_folder(&folder)?,
            uploads,
            online,
            shelf: ArcSwap::from_pointee(shelf),
            public_url: http.public_url.trim_end_matches('/').to_owned(),
            settings,
            kernel,
        })
    }
}

impl HasKernel for Supply {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

/// The online key: made by the first instance, the same for all.
async fn online_key(database: &Database) -> anyhow::Result<FileKey> {
    let fresh = FileKey::generate();
    sqlx::query!(
        "INSERT INTO secrets (key, value) VALUES ('releases-online', $1) ON CONFLICT DO NOTHING",
        fresh.to_bytes()
    )
    .execute(database.system())
    .await?;
    let bytes = sqlx::query_scalar!("SELECT value FROM secrets WHERE key = 'releases-online'")
        .fetch_one(database.system())
        .await?;
    Ok(FileKey::from_bytes(&bytes)?)
}
