//! The API of releases.

use super::db::{self, Metadata, ReleaseRow};
use super::publish::{Publication, Published};
use super::releaser::Releaser;
use super::terms::READ_RELEASES;
use super::{acts, upload_routes};
use crate::state::Supply;
use axum::extract::{DefaultBodyLimit, State};
use noderr_kernel::{Asked, Json, PageQuery, Paged, Path, Principal, Problem, Refused};
use noderr_protocol::Base64;
use noderr_releases::{FileKey, ReleaseKey as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// What one publication may come to.
const MOST_PUBLISHED: usize = 32 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Supply>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(state))
        .routes(routes!(online_key, next_key))
        .merge(OpenApiRouter::new().routes(routes!(put)).layer(DefaultBodyLimit::max(MOST_PUBLISHED)))
        .merge(upload_routes::routes())
}

/// A release.
#[derive(Debug, Serialize, ToSchema)]
struct Release {
    id: Uuid,
    kind: String,
    name: String,
    version: String,
    /// Bytes of the artefact.
    bytes: i64,
    /// Bytes that travel to a box that has nothing of it.
    archive_bytes: i64,
    /// The earlier version that `update_bytes` counts from; absent if none was here when this one was published.
    update_from: Option<String>,
    /// Bytes that travel to a box that holds that version.
    update_bytes: Option<i64>,
    /// SHA-256 of the artefact.
    sha256: String,
    /// SHA-256 of the archive.
    archive_sha256: String,
    security_epoch: i64,
    /// The hardware that it runs on; any, if it names none.
    hardware: Vec<String>,
    /// The tiers that it is meant for; all, if it names none.
    tiers: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    published_at: OffsetDateTime,
    published_by: String,
    /// When it was withdrawn.
    #[serde(with = "time::serde::rfc3339::option")]
    withdrawn_at: Option<OffsetDateTime>,
    /// When its archive was removed, because nobody used it.
    #[serde(with = "time::serde::rfc3339::option")]
    removed_at: Option<OffsetDateTime>,
}

impl From<ReleaseRow> for Release {
    fn from(row: ReleaseRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            name: row.name,
            version: row.version,
            bytes: row.content_bytes,
            archive_bytes: row.archive_bytes,
            update_from: row.update_from,
            update_bytes: row.update_bytes,
            sha256: hex::encode(row.content_sha256),
            archive_sha256: hex::encode(row.archive_sha256),
            security_epoch: row.security_epoch,
            hardware: row.hardware,
            tiers: row.tiers,
            published_at: row.published_at,
            published_by: row.published_by,
            withdrawn_at: row.withdrawn_at,
            removed_at: row.removed_at,
        }
    }
}

/// A release, and how far nodes are with it.
#[derive(Debug, Serialize, ToSchema)]
struct ReleaseDetail {
    #[serde(flatten)]
    release: Release,
    /// How many nodes wait for it, fetch it, hold it or refuse it.
    nodes: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only releases of this kind.
    kind: Option<String>,
    /// Only releases of this name.
    name: Option<String>,
}

/// List releases, newest first.
#[utoipa::path(
    get,
    path = "/releases",
    tag = "releases",
    params(PageQuery, Filter),
    responses((status = 200, body = Paged<Release>), Refused)
)]
async fn list(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Asked { page, filter }: Asked<Uuid, Filter>,
) -> Result<Json<Paged<Release>>, Problem> {
    who.require(&READ_RELEASES)?;
    let mut act = supply.kernel.begin(who).await?;
    let of = (filter.kind.as_deref(), filter.name.as_deref());
    let rows = db::list(&mut act, of, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |release: &Release| release.id)))
}

/// Show one release.
#[utoipa::path(
    get,
    path = "/releases/{kind}/{name}/{version}",
    tag = "releases",
    params(("kind" = String, Path), ("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ReleaseDetail), Refused)
)]
async fn show(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path((kind, name, version)): Path<(String, String, String)>,
) -> Result<Json<ReleaseDetail>, Problem> {
    who.require(&READ_RELEASES)?;
    let mut act = supply.kernel.begin(who).await?;
    let row = db::find(&mut act, &kind, &name, &version).await?;
    let row = row.ok_or_else(|| Problem::not_found("release"))?;
    let nodes = db::states(&mut act, &kind, &name, &version).await?.into_iter().collect();
    Ok(Json(ReleaseDetail { release: row.into(), nodes }))
}

/// What is published.
#[derive(Debug, Serialize, ToSchema)]
struct SupplyState {
    /// The newest version of each role.
    versions: BTreeMap<String, i64>,
    /// SHA-256 of the newest of each role.
    sha256: BTreeMap<String, String>,
}

/// Show which versions of signed metadata are published.
#[utoipa::path(
    get,
    path = "/release-metadata",
    tag = "releases",
    responses((status = 200, body = SupplyState), Refused)
)]
async fn state(State(supply): State<Arc<Supply>>, who: Principal) -> Result<Json<SupplyState>, Problem> {
    who.require(&READ_RELEASES)?;
    let mut act = supply.kernel.begin(who).await?;
    let (mut versions, mut sha256) = (BTreeMap::new(), BTreeMap::new());
    for newest in db::newest(&mut act).await? {
        sha256.insert(newest.role.clone(), hex::encode(newest.sha256));
        versions.insert(newest.role, newest.version);
    }
    Ok(Json(SupplyState { versions, sha256 }))
}

/// The public half of the online key.
#[derive(Debug, Serialize, ToSchema)]
struct OnlineKey {
    /// The id by which metadata names it.
    id: String,
    /// The key as metadata names it: what goes into a file for `noderrctl release init --online`.
    key: Value,
}

impl From<&FileKey> for OnlineKey {
    fn from(key: &FileKey) -> Self {
        let public = key.public();
        Self { id: public.id(), key: json!(public) }
    }
}

/// Show the public half of the control plane's newest online key, which a root names for snapshots and timestamps.
#[utoipa::path(
    get,
    path = "/release-online-key",
    tag = "releases",
    security(()),
    responses((status = 200, body = OnlineKey), Refused)
)]
async fn online_key(State(supply): State<Arc<Supply>>) -> Result<Json<OnlineKey>, Problem> {
    let keys = supply.online.load();
    let newest = keys.last().ok_or_else(|| Problem::not_found("online key"))?;
    Ok(Json(newest.into()))
}

/// Make another online key. The control plane uses the key once a root names it: rotate the old one, sign, publish.
#[utoipa::path(
    post,
    path = "/release-online-key",
    tag = "releases",
    responses((status = 200, body = OnlineKey), Refused)
)]
async fn next_key(State(supply): State<Arc<Supply>>, who: Principal) -> Result<Json<OnlineKey>, Problem> {
    let mut act = supply.kernel.begin(who).await?;
    let key = acts::next_online_key(&supply, &mut act).await?;
    act.commit().await?;
    supply.show_at_once().await;
    Ok(Json((&key).into()))
}

/// Signed metadata.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignedMetadata {
    role: String,
    version: i64,
    /// The bytes as they were signed.
    #[schema(value_type = String)]
    body: Base64,
}

/// A small target: a manifest, or who may build.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SmallTarget {
    name: String,
    #[schema(value_type = String)]
    body: Base64,
}

/// What is to be published. The control plane checks it as a box would, and cannot sign it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPublication {
    metadata: Vec<SignedMetadata>,
    targets: Vec<SmallTarget>,
}

/// What has been published.
#[derive(Debug, Serialize, ToSchema)]
struct PublicationDone {
    /// Releases that are new.
    added: Vec<String>,
    /// Releases that were withdrawn.
    withdrawn: Vec<String>,
    /// Releases that had been withdrawn, and are named again.
    named_again: Vec<String>,
    /// Channels whose release was withdrawn, and that have none now: kind and name, tier, hardware.
    emptied: Vec<String>,
}

/// Publish what was signed.
#[utoipa::path(
    put,
    path = "/release-metadata",
    tag = "releases",
    request_body = NewPublication,
    responses((status = 200, body = PublicationDone), Refused)
)]
async fn put(
    State(supply): State<Arc<Supply>>,
    Releaser { who, body: Json(new), turn }: Releaser<Json<NewPublication>>,
) -> Result<Json<PublicationDone>, Problem> {
    let metadata = new.metadata.into_iter();
    // Before a connection to the database is taken, which others need meanwhile.
    let alone = supply.publishing.clone().acquire_owned().await.map_err(anyhow::Error::from)?;
    let publication = Publication {
        _turns: vec![turn, alone],
        metadata: metadata
            .map(|SignedMetadata { role, version, body }| Metadata { role, version, body: body.into_vec() })
            .collect(),
        targets: new.targets.into_iter().map(|target| (target.name, target.body.into_vec())).collect(),
    };
    let mut act = supply.kernel.begin(who).await?;
    let done = acts::publish(&supply, &mut act, publication).await?;
    act.commit().await?;
    supply.show_at_once().await;
    let Published { added, withdrawn, named_again, emptied } = done;
    Ok(Json(PublicationDone { added, withdrawn, named_again, emptied }))
}
