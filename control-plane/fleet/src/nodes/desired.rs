//! The desired state of nodes: a numbered document for each, sent when the document changes and at every
//! hello.

use super::terms::{DESIRED, DESIRED_OF_MANY};
use crate::state::Fleet;
use crate::values::node_id;
use noderr_kernel::notify;
use noderr_protocol::{Base, DesiredState, Down, List, Message as _, NodeId, Section, SectionBody as _};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

/// A change of the base section; absent fields stay as they are.
pub(super) struct Change {
    pub(super) paused: Option<bool>,
    pub(super) sample_every_s: Option<i32>,
    pub(super) tier: Option<TierWish>,
}

/// The tier that a node is to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TierWish {
    /// In none.
    None,
    Oracle,
    Guardian,
    Validator,
}

impl TierWish {
    /// The name that is stored; nothing for no tier.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Oracle => "oracle",
            Self::Guardian => "guardian",
            Self::Validator => "validator",
        }
    }
}

/// Makes a new version and tells every instance; returns the version, or `None` if the principal can see no
/// such node.
pub(super) async fn change(
    connection: &mut PgConnection,
    node: &NodeId,
    change: &Change,
) -> sqlx::Result<Option<i64>> {
    let version = sqlx::query_scalar!(
        "UPDATE nodes SET desired_version = next_desired_version(desired_version), desired_paused = coalesce($2, desired_paused),
           desired_sample_every_s = coalesce($3, desired_sample_every_s), desired_sent = NULL,
           tier = CASE WHEN $4::text IS NULL THEN tier ELSE nullif($4, '')::node_tier END
         WHERE id = $1 RETURNING desired_version",
        node.as_bytes().as_slice(),
        change.paused,
        change.sample_every_s,
        change.tier.map(TierWish::as_str)
    )
    .fetch_optional(&mut *connection)
    .await?;
    if version.is_some() {
        announce(connection, node).await?;
    }
    Ok(version)
}

/// Makes new versions of many nodes' documents, in which something is said that is not of this area, and tells every
/// instance at the commit.
pub async fn renew_documents(connection: &mut PgConnection, nodes: &[Vec<u8>]) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET desired_version = next_desired_version(desired_version), desired_sent = NULL
         FROM (SELECT id FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE) held WHERE nodes.id = held.id",
        nodes
    )
    .execute(&mut *connection)
    .await?;
    notify(connection, &DESIRED_OF_MANY, "").await
}

/// Tells every instance at the commit that a node's document has changed.
pub(crate) async fn announce(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<()> {
    notify(connection, &DESIRED, &node.to_string()).await
}

/// Acts on the notice that a node's document has changed: the instance that the node is connected to sends
/// the document.
pub(super) async fn tell(fleet: &Fleet, node: &str) -> anyhow::Result<()> {
    let node = node.parse()?;
    if fleet.serves(&node) {
        send(fleet, &node).await?;
    }
    Ok(())
}

/// Sends the newest document to a node. A node that is not connected gets the document at its next hello.
pub(super) async fn send(fleet: &Fleet, node: &NodeId) -> sqlx::Result<()> {
    if let Some(document) = newest(fleet, node).await? {
        fleet.say(node, &document).await;
    }
    Ok(())
}

/// Composes the newest document. What differs from the sections that were last sent gets a version of its own: a node
/// ignores another document under a number that it knows.
async fn newest(fleet: &Fleet, node: &NodeId) -> sqlx::Result<Option<Down>> {
    let id = node.as_bytes().as_slice();
    let mut tx = fleet.kernel.database.begin().await?;
    // Locked: two instances must not send two documents under one number.
    let row = sqlx::query!(
        "SELECT desired_version, desired_sent, next_desired_version(desired_version) AS \"next!\"
         FROM nodes WHERE id = $1 AND revoked_at IS NULL FOR NO KEY UPDATE",
        id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let hooks = fleet.kernel.hooks();
    let sent: Vec<Section> = row.desired_sent.as_deref().map(read_sections).unwrap_or_default();
    let mut sections = hooks.sections(&mut tx, node).await?;
    // Kinds that no feature of this version makes are those of a newer one on the same database, which has sent them.
    sections.extend(
        sent.iter().filter(|section| !hooks.wanted_kinds().any(|kind| kind == section.kind)).cloned(),
    );
    let Some((sections, bytes)) = composed(sections) else {
        tracing::error!(node = %node.short(), "a desired state is too large for one message and is not sent");
        return Ok(None);
    };
    let same = row.desired_sent.as_ref().is_none_or(|sent| *sent == bytes);
    let version = if same { row.desired_version } else { row.next };
    if row.desired_sent.as_ref() != Some(&bytes) {
        sqlx::query!(
            "UPDATE nodes SET desired_version = $2, desired_sent = $3 WHERE id = $1",
            id,
            version,
            bytes
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Some(Down::DesiredState(DesiredState { version: version.unsigned_abs(), sections })))
}

/// Sections that fit into one message, in one order, and their bytes.
fn composed(mut sections: Vec<Section>) -> Option<(List<Section, 32>, Vec<u8>)> {
    sections.sort_by_key(|section| section.kind);
    let sections: List<Section, 32> = sections.try_into().ok()?;
    // As long as a document of any number can get.
    let longest = DesiredState { version: u64::MAX, sections: sections.clone() };
    let bytes = Down::DesiredState(longest).encode().ok()?;
    Some((sections, bytes))
}

/// The sections of bytes that [`composed`] made; none if an other version wrote them in a way that this one cannot read.
fn read_sections(bytes: &[u8]) -> Vec<Section> {
    match Down::decode(bytes) {
        Ok(Down::DesiredState(state)) => state.sections.into_vec(),
        _ => Vec::new(),
    }
}

/// Makes the base section of a node. Whoever is in quarantine takes no work.
pub(super) async fn base(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Section>> {
    let row = sqlx::query!(
        r#"SELECT desired_paused OR quarantine IS NOT NULL AS "paused!", desired_sample_every_s FROM nodes WHERE id = $1"#,
        node.as_bytes().as_slice()
    )
    .fetch_optional(connection)
    .await?;
    let base = row.map(|row| Base {
        paused: row.paused,
        sample_every_s: u16::try_from(row.desired_sample_every_s).unwrap_or(u16::MAX),
    });
    Ok(base.and_then(|base| base.section().ok()))
}

/// Sends the newest document to every node connected here that has not reported on it.
pub(super) async fn look_round(fleet: &Fleet) -> anyhow::Result<()> {
    let behind = sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE id = ANY($1) AND actual_version <> desired_version",
        &fleet.served().await?
    )
    .fetch_all(fleet.kernel.database.system())
    .await?;
    // One node that cannot be served must not keep the others waiting.
    let mut outcome = Ok(());
    for id in behind {
        if let Err(error) = send(fleet, &node_id(&id)).await {
            outcome = Err(error);
        }
    }
    Ok(outcome?)
}
