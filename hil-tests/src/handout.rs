//! A server that hands releases out, and lies, dawdles and breaks off as a test has it; and a box's side of it.

use crate::manager::ReleaseManager;
use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Asked, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::stream;
use jiff::Timestamp;
use noderr_part::Folder;
use noderr_protocol::HexDigest;
use noderr_protocol::release::{Builders, Manifest, ReleaseName, Tier};
use noderr_releases::{FileKey, ReleaseKey as _, refresh_online};
use noderr_update::{
    Allowance, Known, LastWord, Reach, Round, Settings, Source, Stage, StickFolder, StoreLimits, ThisBox,
    Watch, store_in,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of an archive that are sent at once.
const PIECE: usize = 4 * 1024;

/// What the server does that is not in the folder.
#[derive(Debug, Default)]
struct Conduct {
    /// What is shown in place of a file; an empty text stands for nothing at all.
    lies: BTreeMap<String, Vec<u8>>,
    /// The pause after each piece of an archive.
    pause: Option<Duration>,
    /// After so many bytes of archives the connection is closed, once.
    breaks_after: Option<u64>,
    /// The ranges of archives that were asked for.
    asked: Vec<Range<u64>>,
    /// Bytes of archives that were sent.
    sent: u64,
}

/// A server and the release manager behind it.
pub struct Handout {
    /// Signs what is handed out.
    pub manager: ReleaseManager,
    online: FileKey,
    /// Where the server is.
    pub address: String,
    conduct: Arc<Mutex<Conduct>>,
    _server: AbortOnDropHandle<()>,
}

type Shared = (PathBuf, Arc<Mutex<Conduct>>);

fn lock(conduct: &Mutex<Conduct>) -> MutexGuard<'_, Conduct> {
    conduct.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handout {
    /// Starts a server over a new folder of releases.
    pub async fn start(place: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(place)?;
        let online = FileKey::generate();
        let manager = ReleaseManager::begin(place, online.public())?;
        let conduct = Arc::<Mutex<Conduct>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/releases/objects/{object}", axum::routing::get(object))
            .route("/releases/{*path}", axum::routing::get(file))
            .with_state((place.join("releases"), conduct.clone()));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the server of releases ended: {error}");
            }
        });
        let handout = Self { manager, online, address, conduct, _server: AbortOnDropHandle::new(server) };
        handout.refresh()?;
        Ok(handout)
    }

    /// Vouches for the newest, as a control plane does.
    pub fn refresh(&self) -> anyhow::Result<()> {
        Ok(refresh_online(&self.manager.folder, Timestamp::now(), &self.online, &self.online)?)
    }

    /// Releases these bytes.
    pub fn release(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Manifest> {
        self.release_with(name, bytes, |_| {})
    }

    /// Releases these bytes, and says more of them.
    pub fn release_with(
        &self,
        name: &str,
        bytes: &[u8],
        says: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<Manifest> {
        let manifest = self.manager.release_with(name, bytes, says)?;
        self.refresh()?;
        Ok(manifest)
    }

    /// Shows something else at a path such as `metadata/timestamp.json`.
    pub fn lie(&self, path: &str, shown: Vec<u8>) {
        lock(&self.conduct).lies.insert(path.to_owned(), shown);
    }

    /// Shows a place of an archive, and no other.
    pub fn say_places(&self, archive: &HexDigest, places: &[String]) -> anyhow::Result<()> {
        let said = serde_json::to_vec(&serde_json::json!({ "places": places }))?;
        self.lie(&format!("places/{}", hex::encode(archive.0)), said);
        Ok(())
    }

    /// Shows what is in the folder again.
    pub fn be_honest(&self) {
        lock(&self.conduct).lies.clear();
    }

    /// Pauses after each piece of an archive.
    pub fn dawdle(&self, pause: Option<Duration>) {
        lock(&self.conduct).pause = pause;
    }

    /// Closes the connection after so many bytes of archives, once.
    pub fn break_off(&self, after: u64) {
        lock(&self.conduct).breaks_after = Some(after);
    }

    /// The ranges of archives that were asked for, and forgets them.
    pub fn asked(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut lock(&self.conduct).asked)
    }

    /// Bytes of archives that were sent.
    pub fn sent(&self) -> u64 {
        lock(&self.conduct).sent
    }

    /// The path of an object on this server.
    pub fn place_of(&self, archive: &HexDigest) -> String {
        format!("{}/releases/objects/{}", self.address, hex::encode(archive.0))
    }

    /// The first root.
    pub fn root(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(self.manager.folder.metadata().join("1.root.json")).context("there is no root")
    }
}

async fn file(
    State((folder, conduct)): State<Shared>,
    Asked(path): Asked<String>,
) -> Result<Vec<u8>, StatusCode> {
    let lie = lock(&conduct).lies.get(&path).cloned();
    match lie {
        Some(lie) if lie.is_empty() => Err(StatusCode::NOT_FOUND),
        Some(lie) => Ok(lie),
        None => fs::read(folder.join(&path)).map_err(|_| StatusCode::NOT_FOUND),
    }
}

async fn object(
    State((folder, conduct)): State<Shared>,
    Asked(object): Asked<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, StatusCode> {
    let path = format!("objects/{object}");
    let lie = lock(&conduct).lies.get(&path).cloned();
    let bytes = match lie {
        Some(lie) => lie,
        None => fs::read(folder.join(&path)).map_err(|_| StatusCode::NOT_FOUND)?,
    };
    let length = bytes.len() as u64;
    let range = headers.get(RANGE).and_then(|range| asked_range(range.to_str().ok()?, length));
    let range = range.ok_or(StatusCode::RANGE_NOT_SATISFIABLE)?;
    lock(&conduct).asked.push(range.clone());
    let bytes = Bytes::from(bytes).slice(range.start as usize..range.end as usize);
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(CONTENT_LENGTH, bytes.len())
        .header(CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end - 1))
        .body(Body::from_stream(pieces(bytes, conduct)))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn asked_range(asked: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<u64>().ok()?.saturating_add(1).min(length);
    (range.start < range.end).then_some(range)
}

fn pieces(bytes: Bytes, conduct: Arc<Mutex<Conduct>>) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::unfold(bytes, move |mut rest| {
        let conduct = conduct.clone();
        async move {
            if rest.is_empty() {
                return None;
            }
            let pause = lock(&conduct).pause;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            let mut conduct = lock(&conduct);
            conduct.sent += piece.len() as u64;
            if conduct.breaks_after.is_some_and(|after| conduct.sent > after) {
                conduct.breaks_after = None;
                return Some((Err(io::Error::other("broken off")), Bytes::new()));
            }
            Some((Ok(piece), rest))
        }
    })
}

/// A box that brings releases.
pub struct Bringer {
    /// The box's data folder.
    pub data: Arc<Folder>,
    /// What the box goes by.
    pub settings: Settings,
    /// Where releases come from, if not from the server.
    pub folder: Option<PathBuf>,
    /// How far its clock is ahead.
    pub ahead: Duration,
    root: Vec<u8>,
    known: Known,
}

/// What has come of bringing a release.
#[derive(Debug)]
pub struct Brought {
    /// How it ended.
    pub stage: Stage,
    /// Every stage on the way.
    pub stages: Vec<Stage>,
    /// What releases have cost in this month.
    pub spent: u64,
}

struct Notes(Vec<Stage>, u64);

impl Watch for Notes {
    fn sees(&mut self, stage: &Stage, spent: u64) {
        self.0.push(stage.clone());
        self.1 = spent;
    }
}

impl Bringer {
    /// A box with a data folder, of which this server is the control plane.
    pub fn new(place: &Path, handout: &Handout) -> anyhow::Result<Self> {
        Self::of(place, &handout.address, handout.root()?)
    }

    /// A box that was given this root.
    pub fn of(place: &Path, address: &str, root: Vec<u8>) -> anyhow::Result<Self> {
        Ok(Self {
            data: Arc::new(Folder::open(place)?),
            settings: Settings {
                control_plane: address.to_owned(),
                this: ThisBox { hardware: vec!["x86_64".to_owned()], tier: Some(Tier::Oracle) },
                allowance: Allowance::default(),
                bytes_per_s: None,
                reach: Reach::Anywhere,
                store: StoreLimits { bytes: 8 << 30, versions: 3 },
                leave_free: 1 << 20,
                stick: None,
                spread: b"a box".to_vec(),
                look_again: Duration::from_secs(60),
            },
            folder: None,
            ahead: Duration::ZERO,
            root,
            known: Known::default(),
        })
    }

    /// Brings a release, and wants no other.
    pub async fn bring(&self, release: &str) -> anyhow::Result<Brought> {
        self.bring_of(release, &[release]).await
    }

    /// Brings one of the releases that are wanted.
    pub async fn bring_of(&self, release: &str, wanted: &[&str]) -> anyhow::Result<Brought> {
        let release: ReleaseName = release.parse()?;
        let wanted = wanted.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>()?;
        let mut notes = Notes(Vec::new(), 0);
        let stage = match self.begin(&wanted).await {
            Ok(mut round) => round.bring(&release, &wanted, &mut notes).await,
            Err(setback) => Stage::stopped(setback),
        };
        Ok(Brought { stage, stages: notes.0, spent: notes.1 })
    }

    /// Whether the box holds a release, as far as it knows while nobody can be asked.
    pub async fn holds_alone(&self, release: &str) -> anyhow::Result<bool> {
        let (data, settings) = (self.data.clone(), self.settings.clone());
        match LastWord::open(data, settings, &self.root, self.known.clone()).await {
            Ok(mut word) => Ok(word.is_held(&release.parse()?).await),
            Err(_) => Ok(false),
        }
    }

    async fn begin(&self, wanted: &[ReleaseName]) -> Result<Round, noderr_update::Setback> {
        let source = match &self.folder {
            Some(folder) => Source::Folder(StickFolder::new(folder.clone())),
            None => Source::Plain,
        };
        let (data, settings) = (self.data.clone(), self.settings.clone());
        let (ahead, known) = (self.ahead, self.known.clone());
        let clock = Arc::new(move || SystemTime::now() + ahead);
        Round::begin(data, settings, source, &self.root, clock, known, wanted).await
    }

    /// Forgets what was checked, as a start does.
    pub fn restart(&mut self) {
        self.known = Known::default();
    }

    /// Who may build, as the box has heard last.
    fn builders(&self) -> anyhow::Result<Builders> {
        let word = fs::read(self.data.root().join("releases/trust/last-word.json"))?;
        let word: Value = serde_json::from_slice(&word)?;
        Ok(serde_json::from_str(word["files"]["builders.json"].as_str().context("the builders")?)?)
    }

    /// The bytes that the box holds of a release, read as a consumer reads them.
    pub fn held(&self, release: &str) -> anyhow::Result<Vec<u8>> {
        let held = store_in(&self.data, self.settings.store)
            .stored_as(&release.parse()?)
            .context("it is not held")?;
        let artefact = held.open(&self.builders()?)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut artefact.file(), &mut bytes)?;
        Ok(bytes)
    }
}
