//! A release manager: keys, a folder of releases, and the hands of everybody who signs.

use crate::binaries::binary;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_cli::Client;
use noderr_protocol::release::{Builders, Manifest, ReleaseName};
use noderr_releases::{
    BuilderKey, FileKey, FirstKeys, NewRelease, PublicKey, ReleaseError, ReleaseFolder, ReleaseKey as _,
    SignedMetadata, Targets, Terms, new_unlocked_builder, shelf_of,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A release manager with all keys.
pub struct ReleaseManager {
    /// The folder of the releases.
    pub folder: ReleaseFolder,
    place: PathBuf,
    root: [FileKey; 2],
    targets: FileKey,
    kinds: FileKey,
    builder: BuilderKey,
    /// The builder's public key, in a line.
    pub builder_key: String,
}

impl ReleaseManager {
    /// Makes keys and a first root in a folder, for a control plane with this online key.
    pub fn begin(place: &Path, online: &PublicKey) -> anyhow::Result<Self> {
        let (secret, builder_key) = new_unlocked_builder()?;
        let manager = Self {
            folder: ReleaseFolder::new(&place.join("releases")),
            place: place.to_owned(),
            root: [FileKey::generate(), FileKey::generate()],
            targets: FileKey::generate(),
            kinds: FileKey::generate(),
            builder: secret,
            builder_key,
        };
        let keys = FirstKeys {
            root: (&manager.root.each_ref().map(|key| key.public()), 2),
            targets: manager.targets.public(),
            kinds: [manager.kinds.public(); 2],
            online,
        };
        let builders = Builders { keys: vec![manager.builder_key.clone()] };
        manager.folder.begin(&keys, &builders, Timestamp::now() + YEAR)?;
        manager.sign()?;
        Ok(manager)
    }

    /// Begins for a control plane that is asked for its online key.
    pub async fn for_plane(place: &Path, client: &Client) -> anyhow::Result<Self> {
        let key = client.get("/release-online-key").await?;
        Self::begin(place, &serde_json::from_value(key["key"].clone())?)
    }

    /// Everybody signs what is prepared.
    pub fn sign(&self) -> anyhow::Result<()> {
        for key in self.root.iter().chain([&self.targets, &self.kinds]) {
            match self.folder.sign(&self.folder.prepared_for(key.public())?, key) {
                Err(ReleaseError::NotBuilt(..)) => self.sign_unseen(key)?,
                signed => drop(signed?),
            }
        }
        Ok(())
    }

    /// Signs as a holder does who has a tool that checks nothing.
    fn sign_unseen(&self, key: &FileKey) -> anyhow::Result<()> {
        for prepared in self.folder.prepared_for(key.public())? {
            let role = &prepared.progress.role;
            let mut draft = self.folder.draft::<Targets>(role)?.context("no draft")?;
            draft.sign(key)?;
            self.folder.put_draft(role, &draft)?;
        }
        self.folder.settle()?;
        Ok(())
    }

    /// Builds, packs and signs a release of these bytes.
    pub fn release(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Manifest> {
        self.release_with(name, bytes, |_| {})
    }

    /// Builds, packs and signs a release that says more of itself.
    pub fn release_with(
        &self,
        name: &str,
        bytes: &[u8],
        says: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<Manifest> {
        let artefact = self.place.join("artefact");
        fs::write(&artefact, bytes)?;
        let manifest = self.add(name, &artefact, says)?;
        self.sign()?;
        Ok(manifest)
    }

    /// Packs an artefact and prepares its release.
    pub fn add(
        &self,
        name: &str,
        artefact: &Path,
        says: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<Manifest> {
        let name: ReleaseName = name.parse()?;
        let minisig = self.builder.sign(File::open(artefact)?, &name.to_string())?;
        let terms = Terms { security_epoch: self.epoch_of(&name)?, ..Terms::default() };
        let new = NewRelease { name, minisig, may_be_older: true, terms };
        let mut manifest = self.folder.add(artefact, new)?;
        says(&mut manifest);
        self.name(&manifest)?;
        Ok(manifest)
    }

    /// Names the artefact of the first release again under other names, until there are so many: for figures of metadata.
    pub fn name_again(&self, releases: usize) -> anyhow::Result<()> {
        let (first, target) = self.folder.releases()?.into_iter().next().context("there is no release")?;
        let manifest = self.folder.manifest(&first.to_string(), &target)?;
        for number in 1..releases {
            let mut manifest = manifest.clone();
            manifest.release = format!("models/again-{}/1.{}.0", number % 100, number / 100).parse()?;
            self.name(&manifest)?;
        }
        self.sign()
    }

    /// The security epoch of the version before.
    fn epoch_of(&self, name: &ReleaseName) -> anyhow::Result<u32> {
        let mut epoch = 0;
        for (other, file) in self.folder.releases()? {
            if other.series == name.series && other.version < name.version {
                epoch = epoch.max(self.folder.manifest(&other.to_string(), &file)?.security_epoch);
            }
        }
        Ok(epoch)
    }

    /// Names a release as its manifest has it, whatever a tool that checks would say.
    fn name(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let (role, name) = (shelf_of(&manifest.release), manifest.release.to_string());
        let mut says = self.folder.next(&role)?;
        says.targets.insert(name.clone(), self.folder.put_target(&name, &manifest.to_bytes()?)?);
        Ok(self.folder.put_draft(&role, &SignedMetadata::new(says))?)
    }

    /// What a role of a kind says, signed by the keys of the kind, whatever the folder has.
    pub fn signed_by_kind(&self, says: Targets) -> anyhow::Result<Vec<u8>> {
        let mut draft = SignedMetadata::new(says);
        draft.sign(&self.kinds)?;
        Ok(draft.to_bytes()?)
    }

    /// Another builder in the place of the one that has built so far.
    pub fn replace_builder(&mut self) -> anyhow::Result<()> {
        (self.builder, self.builder_key) = new_unlocked_builder()?;
        self.folder.set_builders(&Builders { keys: vec![self.builder_key.clone()] })?;
        self.sign()
    }

    /// Takes a release back.
    pub fn withdraw(&self, name: &str) -> anyhow::Result<()> {
        self.folder.withdraw(&name.parse()?)?;
        self.sign()
    }

    /// Publishes the folder with `noderrctl`.
    pub async fn publish(&self, plane: &Publisher) -> anyhow::Result<String> {
        plane.ctl(&["release", "publish", &self.folder_name()]).await
    }

    /// The folder, as an argument.
    pub fn folder_name(&self) -> String {
        self.place.join("releases").display().to_string()
    }
}

/// What `noderrctl` needs to speak to a control plane on behalf of a release manager.
pub struct Publisher {
    url: String,
    roots: PathBuf,
    token: String,
}

impl Publisher {
    /// Issues a token of a release manager.
    pub async fn new(url: String, roots: PathBuf, admin: &Client) -> anyhow::Result<Self> {
        let wanted = json!({ "name": "release manager", "permissions": ["read-releases", "write-releases", "read-nodes"] });
        let issued = admin.post("/tokens", &wanted).await?;
        let token = issued["secret"].as_str().context("no token")?.to_owned();
        Ok(Self { url, roots, token })
    }

    /// Runs `noderrctl`; returns what it says.
    pub async fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = tokio::process::Command::new(binary("noderrctl")?)
            .args(arguments)
            .env("NODERR_URL", &self.url)
            .env("NODERR_CA", &self.roots)
            .env("NODERR_TOKEN", &self.token)
            .output()
            .await?;
        let [said, why] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        ensure!(done.status.success(), "noderrctl {}: {why}", arguments.join(" "));
        Ok(said)
    }

    /// What `noderrctl --json` prints.
    pub async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let said = self.ctl(&[&["--json"], arguments].concat()).await?;
        serde_json::from_str(&said).with_context(|| said)
    }
}

/// Bytes that look like nothing, always the same for a seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Why a command of the release manager is refused.
pub fn refusal(result: anyhow::Result<String>) -> anyhow::Result<String> {
    match result {
        Err(error) => Ok(error.to_string()),
        Ok(said) => anyhow::bail!("it was done: {said}"),
    }
}
