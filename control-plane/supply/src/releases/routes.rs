//! The API of releases.

use super::db::{self, Metadata, ReleaseRow};
use super::problems::NOT_FIT;
use super::publish::{Publication, publish};
use super::terms::{READ_RELEASES, WRITE_RELEASES};
use super::uploads::{self, Progress};
use crate::state::Supply;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use bytes::Bytes;
use noderr_kernel::{Asked, Json, PageQuery, Paged, Path, Principal, Problem, Refused};
use noderr_protocol::{Base64, HexDigest};
use noderr_releases::ReleaseKey as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// What one publication may come to, and a part of an archive.
const MOST_PUBLISHED: usize = 32 << 20;
const MOST_OF_A_PART: usize = 16 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Supply>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(state))
        .routes(routes!(online_key))
        .merge(OpenApiRouter::new().routes(routes!(put)).layer(DefaultBodyLimit::max(MOST_PUBLISHED)))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(upload_state, upload))
                .layer(DefaultBodyLimit::max(MOST_OF_A_PART)),
        )
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
    Ok(Json(SupplyState { versions: db::versions(&mut act).await?.into_iter().collect() }))
}

/// The public half of the online key.
#[derive(Debug, Serialize, ToSchema)]
struct OnlineKey {
    /// The id by which metadata names it.
    id: String,
    /// The key as metadata names it: what goes into a file for `noderrctl release init --online`.
    key: Value,
}

/// Show the public half of the control plane's online key, which a root names for snapshots and timestamps.
#[utoipa::path(
    get,
    path = "/release-online-key",
    tag = "releases",
    security(()),
    responses((status = 200, body = OnlineKey), Refused)
)]
async fn online_key(State(supply): State<Arc<Supply>>) -> Json<OnlineKey> {
    let public = supply.online.public();
    Json(OnlineKey { id: public.id(), key: json!(public) })
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
    /// Releases that were withdrawn, or are named again.
    changed: Vec<String>,
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
    who: Principal,
    Json(new): Json<NewPublication>,
) -> Result<Json<PublicationDone>, Problem> {
    let mut act = supply.kernel.begin(who).await?;
    act.require(&WRITE_RELEASES)?;
    act.require_fresh_proof()?;
    let online = |role: &str| role == "snapshot" || role == "timestamp";
    if new.metadata.iter().any(|signed| online(&signed.role)) {
        return Err(NOT_FIT.because("snapshots and timestamps are the control plane's own"));
    }
    let metadata = new.metadata.into_iter();
    let publication = Publication {
        metadata: metadata
            .map(|SignedMetadata { role, version, body }| Metadata { role, version, body: body.into_vec() })
            .collect(),
        targets: new.targets.into_iter().map(|target| (target.name, target.body.into_vec())).collect(),
    };
    let by = act.who().actor();
    let done = publish(&supply, &mut act, publication, &by).await?;
    let detail = json!({ "added": done.added, "changed": done.changed });
    act.record("release.publish", "releases", &detail).await?;
    act.commit().await?;
    Ok(Json(PublicationDone { added: done.added, changed: done.changed }))
}

/// How far an upload is.
#[derive(Debug, Serialize, ToSchema)]
struct Upload {
    /// Whether all of the archive is stored.
    stored: bool,
    /// Bytes that are here, while it is not.
    bytes: u64,
}

impl From<Progress> for Upload {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Begun(bytes) => Self { stored: false, bytes },
            Progress::Stored => Self { stored: true, bytes: 0 },
        }
    }
}

/// Show how far the upload of an archive is.
#[utoipa::path(
    get,
    path = "/release-archives/{sha256}",
    tag = "releases",
    params(("sha256" = String, Path, description = "SHA-256 of the archive", pattern = "^[0-9a-f]{64}$")),
    responses((status = 200, body = Upload), Refused)
)]
async fn upload_state(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path(archive): Path<HexDigest>,
) -> Result<Json<Upload>, Problem> {
    who.require(&WRITE_RELEASES)?;
    Ok(Json(uploads::progress(&supply, &archive).await?.into()))
}

/// Upload the next part of an archive. `Content-Range` says where it stands, such as `bytes 0-8388607/200000000`.
#[utoipa::path(
    put,
    path = "/release-archives/{sha256}",
    tag = "releases",
    params(("sha256" = String, Path, description = "SHA-256 of the archive", pattern = "^[0-9a-f]{64}$")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Upload), Refused)
)]
async fn upload(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path(archive): Path<HexDigest>,
    headers: HeaderMap,
    part: Bytes,
) -> Result<Json<Upload>, Problem> {
    who.require(&WRITE_RELEASES)?;
    who.require_staff()?;
    let said = headers.get("content-range").and_then(|said| said.to_str().ok()).and_then(content_range);
    let (offset, length) = said
        .filter(|(offset, length)| offset.checked_add(part.len() as u64).is_some_and(|end| end <= *length))
        .ok_or_else(|| noderr_kernel::problems::BODY.because("Content-Range says where the part stands"))?;
    Ok(Json(uploads::take(&supply, &archive, (offset, length), part).await?.into()))
}

/// Where a part begins, and how long all is.
fn content_range(said: &str) -> Option<(u64, u64)> {
    let (range, length) = said.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, length.parse().ok()?))
}
