//! Archives in a bucket: a real server of S3, at which boxes fetch by addresses that the control plane has signed.

use super::Network;
use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::RANGE;
use axum::response::Response;
use noderr_hil::manager::noise;
use noderr_hil::{BoxOptions, ControlOptions, LabOptions, SOON, scratch};
use noderr_update::{FetchError, Fetcher, Reach};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Paths of which ranges were asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server of S3 over a folder.
struct Store {
    url: String,
    asked: Asked,
    _server: AbortOnDropHandle<()>,
}

impl Store {
    async fn start(folder: &Path, key: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("noderr"))?;
        let files = FileSystem::new(folder).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single("noderr", key));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (url, asked) = (format!("http://{}", listener.local_addr()?), Asked::default());
        let router = Router::new().fallback(answer).with_state((builder.build(), asked.clone()));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the server of S3 ended: {error}");
            }
        });
        Ok(Self { url, asked, _server: AbortOnDropHandle::new(server) })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(
    State((service, asked)): State<(S3Service, Asked)>,
    request: Request,
) -> Result<Response, StatusCode> {
    if request.headers().contains_key(RANGE) {
        let path = request.uri().path().to_owned();
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
    let answer = service.call(request.map(s3s::Body::http_body_unsync)).await;
    answer.map(|answer| answer.map(Body::new)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_fetch_from_a_bucket_by_addresses_that_are_signed() -> anyhow::Result<()> {
    let place = scratch()?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let store = Store::start(&place.path().join("store"), &secret).await?;
    let key = place.path().join("key");
    fs::write(&key, format!("{secret}\n"))?;
    let line = format!(
        "s3 = {{ url = \"{}\", bucket = \"noderr\", region = \"eu\", key_id = \"noderr\", key_file = \"{}\", roots = \"{}\" }}",
        store.url,
        key.display(),
        // None is needed over plain HTTP.
        key.display()
    );
    let control = ControlOptions::default().with("releases", line);
    let network = Network::start(LabOptions { control, ..LabOptions::default() }).await?;
    let artefact = noise(12_000_000, 1);
    let manifest = network.manager.release("os/generic/1.0.0", &artefact)?;
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;
    let name = hex::encode(manifest.archive.sha256.0);
    ensure!(place.path().join("store/noderr").join(&name).exists(), "the archive is not in the bucket");
    let before = store.asked().len();
    let options = BoxOptions { releases: "private_places = true".into(), ..BoxOptions::PLAIN };
    let (_, rig) = network.lab.online_box("first", &options).await?;
    let held = rig.release_is("os/generic/1.0.0", "held", SOON).await?;
    ensure!(fs::read(held["path"].as_str().context("a path")?)? == artefact, "the box holds something else");
    let asked = store.asked().split_off(before);
    ensure!(asked.len() > 10 && asked.iter().all(|path| path.ends_with(&name)), "{asked:?}");
    // A box that may not go there asks the control plane, which fetches for it.
    let (_, rig) = network.lab.online_box("second", &BoxOptions::PLAIN).await?;
    rig.release_is("os/generic/1.0.0", "held", SOON).await?;
    // The address is of use as it is, and no other.
    let said = network.lab.control.shows(&format!("/releases/places/{name}")).await?.context("places")?;
    let said: Value = serde_json::from_slice(&said)?;
    let address = said["places"][0].as_str().context("an address")?;
    let stranger = Fetcher::plain(Reach::Anywhere);
    assert_eq!(stranger.all(address, 16 << 20).await?.len() as u64, manifest.archive.bytes);
    fs::write(place.path().join("store/noderr/another"), b"of somebody else")?;
    for other in [
        address.replace(&name, "another"),
        address.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
        address.split('?').next().unwrap_or_default().to_owned(),
    ] {
        let refused = stranger.all(&other, 16 << 20).await;
        // So a box says of 403 too.
        ensure!(matches!(refused, Err(FetchError::NotThere(_))), "{other}: {refused:?}");
    }
    Ok(())
}
