//! What boxes are shown, in memory: signed metadata, small targets, and the beacon. Each instance has it whole, and loads it
//! anew when something has changed.

use bytes::Bytes;
use noderr_kernel::Database;
use noderr_protocol::release::{Active, Beacon, metadata_file, target_file};
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
                metadata.insert(metadata_file(&row.role, row.version), Bytes::from(row.body));
            }
        }
        let rows = sqlx::query!("SELECT name, sha256, body FROM release_targets").fetch_all(&mut *tx).await?;
        let targets = rows
            .into_iter()
            .map(|row| (target_file(&row.name, &hex::encode(&row.sha256)), Bytes::from(row.body)));
        let targets = targets.collect();
        let beacon = beacon(&mut tx).await?.into();
        tx.commit().await?;
        Ok(Self { generation, metadata, targets, beacon })
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
