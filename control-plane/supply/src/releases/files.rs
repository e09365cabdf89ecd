//! What boxes fetch: metadata, small targets, archives, and where else archives lie. Nobody needs a credential: what it is, boxes
//! prove by themselves.

use crate::state::Supply;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use noderr_objects::ObjectsError;
use noderr_protocol::release::TIMESTAMP_FILE;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What never changes under its name.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What everybody begins with.
const SHORTLY: &str = "public, max-age=5";
/// How long the address of an archive is good, where a store gives one. A transfer that takes longer asks again.
const SIGNED_FOR: Duration = Duration::from_secs(6 * 3600);

pub(super) fn files() -> Router<Arc<Supply>> {
    Router::new()
        .route("/releases/beacon.json", get(beacon))
        .route("/releases/metadata/{file}", get(metadata))
        .route("/releases/targets/{*path}", get(target))
        .route("/releases/places/{archive}", get(places))
        .route("/releases/objects/{archive}", get(object))
}

async fn beacon(State(supply): State<Arc<Supply>>, headers: HeaderMap) -> Response {
    shown(&supply.handed_out.load().beacon, "application/json", SHORTLY, &headers)
}

async fn metadata(
    State(supply): State<Arc<Supply>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let handed_out = supply.handed_out.load();
    let how_long = if file == TIMESTAMP_FILE { SHORTLY } else { FOR_EVER };
    match handed_out.metadata.get(&file) {
        Some(bytes) => shown(bytes, "application/json", how_long, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn target(State(supply): State<Arc<Supply>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    match supply.handed_out.load().targets.get(&path) {
        Some(bytes) => shown(bytes, "application/json", FOR_EVER, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Shows bytes, unless the client has them already.
fn shown(bytes: &Bytes, kind: &'static str, how_long: &'static str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]));
    if headers.get(IF_NONE_MATCH).is_some_and(|has| has.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CACHE_CONTROL, how_long.to_owned()), (ETAG, tag)];
    (headers, bytes.clone()).into_response()
}

/// Where an archive lies: on every mirror, and in the store or here. A box asks here in any case, last.
async fn places(State(supply): State<Arc<Supply>>, Path(archive): Path<String>) -> Response {
    if !is_name(&archive) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let own = match supply.objects.address(&archive, SIGNED_FOR).await {
        Ok(Some(address)) => address,
        Ok(None) => format!("{}/releases/objects/{archive}", supply.public_url),
        Err(error) => {
            tracing::warn!(%error, "the address of an archive cannot be signed");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    let mirrors =
        supply.settings.mirrors.iter().map(|base| format!("{}/{archive}", base.trim_end_matches('/')));
    let places: Vec<_> = mirrors.chain([own]).collect();
    ([(CACHE_CONTROL, SHORTLY)], axum::Json(json!({ "places": places }))).into_response()
}

fn is_name(archive: &str) -> bool {
    archive.len() == 64 && archive.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An archive, or the part of it that is asked for.
async fn object(
    State(supply): State<Arc<Supply>>,
    Path(archive): Path<String>,
    headers: HeaderMap,
) -> Response {
    match part(&supply, &archive, &headers).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "an archive cannot be handed out");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn part(supply: &Supply, archive: &str, headers: &HeaderMap) -> Result<Response, ObjectsError> {
    let length = if is_name(archive) { supply.objects.length(archive).await? } else { None };
    let Some(length) = length else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let (status, range) = match asked.map(|asked| asked_range(asked, length)) {
        None => (StatusCode::OK, 0..length),
        Some(Some(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(None) => {
            let all = format!("bytes */{length}");
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, all)]).into_response());
        }
    };
    let stream = supply.objects.stream(archive, range.clone()).await?;
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    let mut says = vec![
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CACHE_CONTROL, FOR_EVER.to_owned()),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        says.push((CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end - 1)));
    }
    for (name, value) in says {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// The one range that is asked for, within what there is.
fn asked_range(asked: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", last) => length.saturating_sub(last.parse().ok()?)..length,
        (first, "") => first.parse().ok()?..length,
        (first, last) => first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?.min(length),
    };
    (range.start < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_what_there_is() {
        for (asked, range) in [
            ("bytes=0-9", Some(0..10)),
            ("bytes=5-5", Some(5..6)),
            ("bytes=90-200", Some(90..100)),
            ("bytes=90-", Some(90..100)),
            ("bytes=-10", Some(90..100)),
            ("bytes=-1000", Some(0..100)),
            ("bytes=100-200", None),
            ("bytes=9-3", None),
            ("bytes=-0", None),
            ("bytes=0-18446744073709551615", None),
            ("bytes=0-1,5-6", None),
            ("lines=0-1", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(asked_range(asked, 100), range, "{asked}");
        }
    }
}
