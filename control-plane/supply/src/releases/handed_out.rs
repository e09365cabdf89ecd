//! What boxes are shown, in memory: signed metadata, small targets, and the beacon. Each instance has it whole, and loads it
//! anew when something has changed.

use bytes::Bytes;
use noderr_kernel::Database;
use noderr_protocol::release::{Active, Beacon};
use noderr_releases::{Draft, Root};
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// What boxes are shown.
#[derive(Debug, Default)]
pub struct HandedOut {
    /// Grows with every change.
    pub(crate) generation: i64,
    /// By file name, such as `3.os-2.json`.
    pub(super) metadata: HashMap<String, Bytes>,
    /// By path, such as `os/generic/<hash>.1.4.0`.
    pub(super) targets: HashMap<String, Bytes>,
    /// The beacon document.
    pub(super) beacon: Bytes,
}

impl HandedOut {
    /// Loads everything, as of one moment.
    pub(crate) async fn load(database: &Database) -> sqlx::Result<Self> {
        let mut tx = database.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
        let generation = sqlx::query_scalar!("SELECT generation FROM supply").fetch_one(&mut *tx).await?;
        // A box in the middle of a refresh asks for what was the newest a moment ago.
        let rows = sqlx::query!(
            r#"SELECT role AS "role!", version AS "version!", body AS "body!", newest AS "newest!" FROM (
                 SELECT role, version, body, rank() OVER (PARTITION BY role ORDER BY version DESC) AS newest
                 FROM release_metadata) ranked
               WHERE role = 'root' OR newest <= 3"#
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut metadata = HashMap::new();
        for row in rows {
            if row.role != "timestamp" || row.newest == 1 {
                metadata.insert(metadata_name(&row.role, row.version), Bytes::from(row.body));
            }
        }
        let rows = sqlx::query!("SELECT name, sha256, body FROM release_targets").fetch_all(&mut *tx).await?;
        let targets = rows.into_iter().map(|row| (path_of(&row.name, &row.sha256), Bytes::from(row.body)));
        let targets = targets.collect();
        let beacon = beacon(&mut tx).await?.into();
        tx.commit().await?;
        Ok(Self { generation, metadata, targets, beacon })
    }

    /// Whether the newest root names this key for what the control plane signs.
    pub(super) fn root_names(&self, id: &str) -> bool {
        let root = self.newest_root().and_then(|root| serde_json::from_slice::<Draft<Root>>(root).ok());
        let roles = root.map(|root| root.says().roles.clone()).unwrap_or_default();
        roles.get("timestamp").is_some_and(|keys| keys.keyids.iter().any(|key| key == id))
    }

    /// The newest root.
    pub fn newest_root(&self) -> Option<&Bytes> {
        let version = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
        let roots: BTreeMap<_, _> =
            self.metadata.iter().filter_map(|(name, bytes)| Some((version(name)?, bytes))).collect();
        roots.into_values().next_back()
    }
}

/// The beacon document: the same channels make the same bytes, which the timestamp names.
pub(super) async fn beacon(connection: &mut PgConnection) -> sqlx::Result<Vec<u8>> {
    let channels = sqlx::query_as!(
        Active,
        r#"SELECT c.kind, c.name, c.tier, c.hardware, r.version,
             r.kind || '/' || r.name || '/' || r.version AS "release!"
           FROM channels c JOIN releases r ON r.id = c.release_id WHERE r.withdrawn_at IS NULL
           ORDER BY c.kind, c.name, c.tier, c.hardware"#
    )
    .fetch_all(connection)
    .await?;
    Ok(serde_json::to_vec(&Beacon { channels }).unwrap_or_default())
}

/// The name of a file of metadata.
pub(super) fn metadata_name(role: &str, version: i64) -> String {
    match role {
        "timestamp" => "timestamp.json".to_owned(),
        role => format!("{version}.{role}.json"),
    }
}

/// The path of a small target.
pub(super) fn path_of(name: &str, sha256: &[u8]) -> String {
    let hash = hex::encode(sha256);
    match name.rsplit_once('/') {
        Some((folder, last)) => format!("{folder}/{hash}.{last}"),
        None => format!("{hash}.{name}"),
    }
}
