//! The state that the features of this area share.

use crate::releases::{HandedOut, Turns, Uploads};
use crate::settings::ReleasesSettings;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use noderr_kernel::{Configuration, Database, HasKernel, HttpSettings, Kernel};
use noderr_objects::Objects;
use noderr_releases::FileKey;
use sqlx::PgConnection;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The state of the area.
pub struct Supply {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    pub(crate) settings: ReleasesSettings,
    /// How boxes reach this control plane.
    pub(crate) public_url: String,
    pub(crate) objects: Objects,
    /// Where archives arrive, part by part.
    pub(crate) uploads: Uploads,
    /// Whose large bodies are read.
    pub(crate) turns: Turns,
    /// One publication is checked at a time: that takes a processor, and nobody else waits for one that is not fit.
    pub(crate) publishing: Arc<Semaphore>,
    /// The online keys: they sign snapshots and timestamps, and nothing else; the root says which of them.
    pub(crate) online: ArcSwap<Vec<FileKey>>,
    /// What boxes are shown, in memory.
    pub(crate) handed_out: ArcSwap<HandedOut>,
    reloading: tokio::sync::Mutex<()>,
}

impl Supply {
    /// Opens the state of the area.
    pub async fn open(kernel: Arc<Kernel>, configuration: &Configuration) -> anyhow::Result<Self> {
        let settings: ReleasesSettings = configuration.section()?;
        let http: HttpSettings = configuration.section()?;
        let data = &configuration.base().data;
        let folder = settings.folder.clone().unwrap_or_else(|| data.join("objects"));
        let uploads = data.join("uploads");
        let objects = match &settings.s3 {
            Some(s3) => Objects::in_bucket(&s3.bucket()).context("releases.s3 cannot be used")?,
            None => Objects::in_folder(&folder)?,
        };
        let uploads = Uploads::open(uploads, objects.clone(), settings.archive_gib)
            .context("archives cannot arrive in the data folder")?;
        let online = online_keys(&kernel.database).await.context("cannot read the online key of releases")?;
        let handed_out = HandedOut::load(&kernel.database).await?;
        Ok(Self {
            objects,
            uploads,
            turns: Turns::default(),
            publishing: Arc::new(Semaphore::new(1)),
            online: ArcSwap::from_pointee(online),
            handed_out: ArcSwap::from_pointee(handed_out),
            reloading: tokio::sync::Mutex::default(),
            public_url: http.public_url.trim_end_matches('/').to_owned(),
            settings,
            kernel,
        })
    }

    /// Shows what was committed a moment ago, without waiting for the notice: whoever has published goes on with it at once.
    pub(crate) async fn show_at_once(&self) {
        if let Err(error) = self.reload().await {
            tracing::warn!(%error, "what has changed is shown a moment later");
        }
    }

    /// Loads what boxes are shown, if it is not what this instance has.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        // One at a time, so that an older picture never takes the place of a newer one.
        let _one = self.reloading.lock().await;
        let newest = sqlx::query_scalar!("SELECT generation FROM supply")
            .fetch_one(self.kernel.database.system())
            .await?;
        if newest != self.handed_out.load().generation {
            // The keys last: what changes between the two is loaded again, for the generation is the older one.
            let handed_out = HandedOut::load(&self.kernel.database).await?;
            self.online.store(Arc::new(online_keys(&self.kernel.database).await?));
            self.handed_out.store(Arc::new(handed_out));
        }
        Ok(())
    }
}

impl HasKernel for Supply {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

/// The online key, made by the first instance, the same for all; and the next one, if there is to be another.
async fn online_keys(database: &Database) -> anyhow::Result<Vec<FileKey>> {
    let fresh = FileKey::generate();
    sqlx::query!(
        "INSERT INTO secrets (key, value) VALUES ('releases-online', $1) ON CONFLICT DO NOTHING",
        fresh.to_bytes()
    )
    .execute(database.system())
    .await?;
    let keys = sqlx::query_scalar!(
        "SELECT value FROM secrets WHERE key IN ('releases-online', 'releases-online-next') ORDER BY key"
    )
    .fetch_all(database.system())
    .await?;
    Ok(keys.iter().map(|bytes| FileKey::from_bytes(bytes)).collect::<Result<_, _>>()?)
}

/// The key that comes after the one which the newest root names: the one that is there, or a fresh one. Decided from the rows, under a lock
/// that is held to the end of the transaction: a key that boxes go by is never overwritten.
pub(crate) async fn next_online_key(
    connection: &mut PgConnection,
    is_named: impl Fn(&FileKey) -> bool,
) -> anyhow::Result<FileKey> {
    let keys = sqlx::query!(
        "SELECT key, value FROM secrets WHERE key IN ('releases-online', 'releases-online-next') ORDER BY key FOR UPDATE"
    )
    .fetch_all(&mut *connection)
    .await?;
    if let Some(next) = keys.iter().find(|row| row.key == "releases-online-next") {
        let next_key = FileKey::from_bytes(&next.value)?;
        if !is_named(&next_key) {
            return Ok(next_key);
        }
        // The root names it by now: what was the first signs nothing any more.
        sqlx::query!("UPDATE secrets SET value = $1 WHERE key = 'releases-online'", next.value)
            .execute(&mut *connection)
            .await?;
    }
    let fresh = FileKey::generate();
    sqlx::query!(
        "INSERT INTO secrets (key, value) VALUES ('releases-online-next', $1) ON CONFLICT (key) DO UPDATE SET value = $1",
        fresh.to_bytes()
    )
    .execute(connection)
    .await?;
    Ok(fresh)
}
