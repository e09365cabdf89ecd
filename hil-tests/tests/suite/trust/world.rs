//! A network that releases: its keys, the folder that they sign, a server that hands the folder out, and boxes that ask it.

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path as Asked, State};
use axum::http::StatusCode;
use noderr_releases::{
    FileKey, Metadata, ReleaseFolder, ReleaseKey as _, Roles, Root, SignedMetadata, Targets, refresh_online,
};
use noderr_update::{Fetcher, Limits, Reach, Refusal, Repository, StickFolder, Trust, TrustError};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The one target at the beginning.
pub(super) const TARGET: &str = "os/generic/1.0.0";
pub(super) const YEAR: u32 = 365;

/// What a server shows in place of what is in the folder; an empty text stands for nothing at all.
type Lies = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub(super) struct World {
    place: TempDir,
    pub(super) folder: ReleaseFolder,
    /// Of these, two must sign a root.
    pub(super) root: [FileKey; 3],
    pub(super) targets: FileKey,
    pub(super) os: FileKey,
    pub(super) online: FileKey,
    lies: Lies,
    pub(super) address: String,
    _server: AbortOnDropHandle<()>,
}

pub(super) fn now() -> jiff::Timestamp {
    SystemTime::now().try_into().expect("it is not the end of time")
}

pub(super) fn in_days(days: u32) -> jiff::Timestamp {
    now() + DAY * days
}

impl World {
    /// A network with a root, two delegations, and one target.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let folder = ReleaseFolder::new(&place.path().join("releases"));
        let lies = Lies::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let shown = (place.path().join("releases"), lies.clone());
        let router = Router::new().route("/{*path}", axum::routing::get(show)).with_state(shown);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the server of releases ended: {error}");
            }
        });
        let key = FileKey::generate;
        let world = Self {
            place,
            folder,
            root: [key(), key(), key()],
            targets: key(),
            os: key(),
            online: key(),
            lies,
            address,
            _server: AbortOnDropHandle::new(server),
        };
        world.publish_root(1, |_| {})?;
        world.publish_targets(1, |_| {})?;
        world.publish_os(1, |os| os.name(TARGET, b"the first"))?;
        world.folder.put_target(TARGET, &b"the first"[..])?;
        world.refresh_online()?;
        Ok(world)
    }

    /// Publishes a root of this network, changed as `change` has it, signed by the first two.
    pub(super) fn publish_root(&self, version: u64, change: impl FnOnce(&mut Root)) -> anyhow::Result<()> {
        let mut draft = self.draft_root(version, change);
        draft.sign(&self.root[0])?;
        draft.sign(&self.root[1])?;
        Ok(self.folder.put("root", &draft)?)
    }

    pub(super) fn draft_root(&self, version: u64, change: impl FnOnce(&mut Root)) -> SignedMetadata<Root> {
        let [a, b, c] = self.root.each_ref().map(|key| key.public());
        let roles = Roles {
            root: (&[a, b, c], 2),
            targets: (&[self.targets.public()], 1),
            snapshot: (&[self.online.public()], 1),
            timestamp: (&[self.online.public()], 1),
        };
        let mut root = Root::new(version, in_days(YEAR), &roles);
        change(&mut root);
        SignedMetadata::new(root)
    }

    pub(super) fn publish_targets(
        &self,
        version: u64,
        change: impl FnOnce(&mut Targets),
    ) -> anyhow::Result<()> {
        let mut targets = Targets::new(version, in_days(YEAR));
        targets.delegate("os", &["os/*/*"], &[self.os.public()], 1);
        change(&mut targets);
        self.publish("targets", targets, &self.targets)
    }

    pub(super) fn publish_os(&self, version: u64, change: impl FnOnce(&mut Targets)) -> anyhow::Result<()> {
        let mut os = Targets::new(version, in_days(YEAR));
        change(&mut os);
        self.publish("os", os, &self.os)
    }

    pub(super) fn publish<M: Metadata>(&self, role: &str, says: M, key: &FileKey) -> anyhow::Result<()> {
        let mut draft = SignedMetadata::new(says);
        draft.sign(key)?;
        Ok(self.folder.put(role, &draft)?)
    }

    pub(super) fn refresh_online(&self) -> anyhow::Result<()> {
        Ok(refresh_online(&self.folder, now(), &self.online, &self.online)?)
    }

    /// A second version of the target's role, and everything that follows.
    pub(super) fn release_another(&self, version: u64) -> anyhow::Result<()> {
        let name = format!("os/generic/{version}.0.0");
        let bytes = format!("number {version}");
        self.publish_os(version, |os| {
            os.name(TARGET, b"the first");
            os.name(&name, bytes.as_bytes());
        })?;
        self.folder.put_target(&name, bytes.as_bytes())?;
        self.refresh_online()
    }

    /// Has the server show this in place of a file.
    pub(super) fn lie(&self, path: &str, shown: Vec<u8>) {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), shown);
    }

    pub(super) fn be_honest(&self) {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn published(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        fs::read(self.folder.metadata().join(name)).with_context(|| name.to_owned())
    }

    /// Where a box keeps what it trusts.
    pub(super) fn shelf(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A box that was given the first root, and asks the server.
    pub(super) fn client(&self, name: &str) -> anyhow::Result<Trust> {
        self.client_of(&self.shelf(name), &self.address)
    }

    pub(super) fn client_of(&self, shelf: &Path, address: &str) -> anyhow::Result<Trust> {
        let repository = Repository::Server {
            fetcher: Fetcher::plain(Reach::Anywhere),
            metadata: format!("{address}/metadata"),
            targets: format!("{address}/targets"),
        };
        Ok(Trust::open(shelf, &self.published("1.root.json")?, repository, Limits::default())?)
    }

    /// A box without a network, with the folder on a stick.
    pub(super) fn client_of_stick(&self, name: &str) -> anyhow::Result<Trust> {
        let repository = Repository::Folder(StickFolder::new(self.folder.root().to_owned()));
        Ok(Trust::open(&self.shelf(name), &self.published("1.root.json")?, repository, Limits::default())?)
    }
}

async fn show(
    State((folder, lies)): State<(PathBuf, Lies)>,
    Asked(path): Asked<String>,
) -> Result<Vec<u8>, StatusCode> {
    let lie = lies.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    match lie {
        Some(lie) if lie.is_empty() => Err(StatusCode::NOT_FOUND),
        Some(lie) => Ok(lie),
        None => fs::read(folder.join(&path)).map_err(|_| StatusCode::NOT_FOUND),
    }
}

/// Why a box refuses; fails if it does not.
pub(super) fn refused<T>(asked: Result<T, TrustError>) -> anyhow::Result<Refusal> {
    match asked {
        Err(TrustError::Refused { why, .. }) => Ok(why),
        Err(other) => Err(other.into()),
        Ok(_) => anyhow::bail!("it is believed"),
    }
}
