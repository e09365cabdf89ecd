//! The API of uploads.

use super::db;
use super::releaser::Releaser;
use super::terms::WRITE_RELEASES;
use super::uploads::{Progress, Upload};
use crate::state::Supply;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use noderr_kernel::problems::{BODY, DATABASE};
use noderr_kernel::{Json, Path, Principal, Problem, Refused};
use noderr_protocol::HexDigest;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest part of an archive.
const MOST_OF_A_PART: usize = 16 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Supply>> {
    OpenApiRouter::new()
        .routes(routes!(upload_state, upload, give_up))
        .layer(DefaultBodyLimit::max(MOST_OF_A_PART))
}

/// How far an upload is.
#[derive(Debug, Serialize, ToSchema)]
struct UploadState {
    /// Whether all of the archive is stored.
    stored: bool,
    /// Whether all bytes are here and are being checked: ask again.
    checking: bool,
    /// Bytes that are here, while it is not stored.
    bytes: u64,
}

impl From<Progress> for UploadState {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Begun(bytes) => Self { stored: false, checking: false, bytes },
            Progress::Checking(bytes) => Self { stored: false, checking: true, bytes },
            Progress::Stored => Self { stored: true, checking: false, bytes: 0 },
        }
    }
}

/// Show how far your upload of an archive is.
#[utoipa::path(
    get,
    path = "/release-archives/{sha256}",
    tag = "releases",
    params(("sha256" = String, Path, description = "SHA-256 of the archive", pattern = "^[0-9a-f]{64}$")),
    responses((status = 200, body = UploadState), Refused)
)]
async fn upload_state(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path(archive): Path<HexDigest>,
) -> Result<Json<UploadState>, Problem> {
    who.require(&WRITE_RELEASES)?;
    let upload = Upload { owner: who.id(), archive };
    let progress = supply.uploads.progress(&upload).await?;
    found_again(&supply, &upload, &progress).await?;
    Ok(Json(progress.into()))
}

/// Upload the next part of an archive. `Content-Range` says where it stands, such as `bytes 0-8388607/200000000`.
#[utoipa::path(
    put,
    path = "/release-archives/{sha256}",
    tag = "releases",
    params(("sha256" = String, Path, description = "SHA-256 of the archive", pattern = "^[0-9a-f]{64}$")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = UploadState), Refused)
)]
async fn upload(
    State(supply): State<Arc<Supply>>,
    Path(archive): Path<HexDigest>,
    headers: HeaderMap,
    Releaser { who, body: part, turn: _turn }: Releaser<Bytes>,
) -> Result<Json<UploadState>, Problem> {
    who.require_staff()?;
    if !supply.kernel.database.has_room() {
        return Err(DATABASE.because("the disk is nearly full; archives are taken when there is room"));
    }
    let said = headers.get("content-range").and_then(|said| said.to_str().ok()).and_then(content_range);
    let (offset, length) = said
        .filter(|(offset, length)| {
            *length > 0 && offset.checked_add(part.len() as u64).is_some_and(|end| end <= *length)
        })
        .ok_or_else(|| BODY.because("Content-Range says where the part stands"))?;
    let upload = Upload { owner: who.id(), archive };
    let progress = supply.uploads.take(&upload, (offset, length), part).await?;
    found_again(&supply, &upload, &progress).await?;
    Ok(Json(progress.into()))
}

/// Give up your upload of an archive.
#[utoipa::path(
    delete,
    path = "/release-archives/{sha256}",
    tag = "releases",
    params(("sha256" = String, Path, description = "SHA-256 of the archive", pattern = "^[0-9a-f]{64}$")),
    responses((status = 204), Refused)
)]
async fn give_up(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path(archive): Path<HexDigest>,
) -> Result<StatusCode, Problem> {
    who.require(&WRITE_RELEASES)?;
    supply.uploads.give_up(&Upload { owner: who.id(), archive }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes that an archive is here which was removed once.
async fn found_again(supply: &Supply, upload: &Upload, progress: &Progress) -> Result<(), Problem> {
    if !matches!(progress, Progress::Stored) {
        return Ok(());
    }
    // Most archives were never removed: whoever asks about those holds nobody up.
    let mut database = supply.kernel.database.system().acquire().await?;
    if !db::is_removed(&mut database, &upload.archive.0).await? {
        return Ok(());
    }
    drop(database);
    let mut tx = supply.kernel.database.begin().await?;
    // Nobody removes it meanwhile.
    db::hold_supply(&mut tx).await?;
    if let Progress::Stored = supply.uploads.progress(upload).await? {
        db::unmark_removed(&mut tx, &upload.archive.0).await?;
    }
    Ok(tx.commit().await?)
}

/// Where a part begins, and how long all is.
fn content_range(said: &str) -> Option<(u64, u64)> {
    let (range, length) = said.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, length.parse().ok()?))
}
