//! The part that brings the releases which the node should hold. Metadata, connections and indexes live only while there is
//! something to be brought; between two rounds the part only waits.

use crate::config::Config;
use crate::desired::{Wish, Wishes};
use crate::shared::Shared;
use crate::status::ReleaseShown;
use anyhow::Context as _;
use noderr_part::Backoff;
use noderr_protocol::release::{
    Hardware, NamedRelease, ReleaseName, ReleaseReport, ReleaseState, Releases, ReleasesReport,
};
use noderr_protocol::{Phase, Section, SectionBody as _, Text};
use noderr_update::{
    Allowance, Clock, Fetcher, Reach, Round, Setback, Settings, Source, Stage, StoreLimits, ThisBox, Watch,
    store_in,
};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How often a transfer looks whether its release is still named.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Where the first root lies that the box was given.
const ROOT: &str = "releases/root.json";
/// The largest root that is taken.
const LARGEST_ROOT: u64 = 256 * 1024;

pub(crate) async fn run(shared: Shared) {
    let mut wishes = shared.desired.wishes::<Releases>();
    let mut wish = wishes.next().await;
    while let Some(current) = wish {
        wishes.taken(&current);
        let work = Work { shared: &shared, wishes: &wishes, wish: &current };
        let newer = {
            let mut newer = shared.desired.wishes::<Releases>();
            // What is wished now is known already.
            newer.next().await;
            tokio::select! {
                wish = newer.next() => wish,
                () = work.keep_at_it() => return,
            }
        };
        wish = newer;
    }
}

/// What is to be done about one wish.
struct Work<'a> {
    shared: &'a Shared,
    wishes: &'a Wishes<Releases>,
    wish: &'a Wish<Releases>,
}

/// The releases that are wanted, each with how far it is.
type Stages = Vec<(ReleaseName, Stage)>;

/// Watches one of the releases, and reports how far it is.
struct Watcher<'a> {
    work: &'a Work<'a>,
    stages: &'a mut Stages,
    number: usize,
    shown: Option<Instant>,
}

impl Watch for Watcher<'_> {
    fn sees(&mut self, stage: &Stage, spent: u64) {
        let is_news = discriminant(stage) != discriminant(&self.stages[self.number].1);
        self.stages[self.number].1 = stage.clone();
        if is_news || self.shown.is_none_or(|shown| shown.elapsed() >= REPORT_EVERY) {
            self.shown = Some(Instant::now());
            self.work.show(self.stages, spent);
        }
    }
}

impl Work<'_> {
    /// Brings what is wished, tries again what could not be had, and looks now and then whether all is still as it was.
    async fn keep_at_it(&self) {
        let mut soon = Backoff::new(Duration::from_secs(5), Duration::from_secs(900));
        let look_every = Duration::from_secs(self.shared.config.releases.look_every_s);
        loop {
            let stages = self.round().await;
            let waits = stages.iter().any(|(_, stage)| matches!(stage, Stage::Waiting(_)));
            if !waits {
                soon.reset();
            }
            let pause = if waits { soon.pause().min(look_every) } else { jittered(look_every) };
            tokio::time::sleep(pause).await;
        }
    }

    /// One round over everything that is wanted.
    async fn round(&self) -> Stages {
        let wanted = self.wanted();
        let mut stages: Stages = wanted.iter().map(|release| (release.clone(), Stage::Looking)).collect();
        if wanted.is_empty() {
            self.show(&stages, 0);
            return stages;
        }
        let mut round = match self.begin().await {
            Ok(round) => round,
            Err(setback) => {
                for (release, stage) in &mut stages {
                    *stage = self.without_a_round(release, setback.clone());
                }
                self.show(&stages, self.spent());
                return stages;
            }
        };
        for number in 0..stages.len() {
            let release = wanted[number].clone();
            let mut watcher = Watcher { work: self, stages: &mut stages, number, shown: None };
            let stage = round.bring(&release, &wanted, &mut watcher).await;
            if let Stage::Refused(refused) = &stage {
                tracing::warn!(%release, why = %refused.why.name(), detail = &*refused.detail, "a release is not taken");
            }
        }
        stages
    }

    fn wanted(&self) -> Vec<ReleaseName> {
        let wanted = self.wish.body.iter().flat_map(|releases| releases.wanted.iter());
        wanted.filter_map(|named| ReleaseName::try_from(named).ok()).collect()
    }

    /// What there is to say of a release while nothing can be asked: what is held stays held.
    fn without_a_round(&self, release: &ReleaseName, setback: Setback) -> Stage {
        let store = store_in(&self.shared.data, self.limits());
        match setback {
            Setback::Passing(_) if store.find(release).is_some() => Stage::Held,
            setback => Stage::stopped(setback),
        }
    }

    async fn begin(&self) -> Result<Round, Setback> {
        let passing = |error: anyhow::Error| Setback::Passing(format!("{error:#}"));
        let settings = self.settings();
        let tls = self.tls().map_err(passing)?;
        let root = self.root(&settings, &tls).await.map_err(passing)?;
        let clock = self.shared.clock.clone();
        let clock: Clock = Arc::new(move || {
            UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now_ms()).unwrap_or_default())
        });
        let (data, whole) = (self.shared.data.clone(), self.shared.whole.clone());
        Round::begin(data, settings, Source::Network(tls), &root, clock, whole).await
    }

    fn limits(&self) -> StoreLimits {
        let config = &self.shared.config.releases;
        StoreLimits { bytes: config.store_mib << 20, versions: config.versions }
    }

    fn settings(&self) -> Settings {
        let (config, url) = (&self.shared.config.releases, &self.shared.config.control_plane.url);
        let tier = self.wish.body.as_ref().and_then(|releases| releases.tier);
        let reach = if config.private_places {
            Reach::Anywhere
        } else {
            Reach::Internet { named: host_of(url).to_owned() }
        };
        Settings {
            control_plane: url.clone(),
            this: ThisBox { hardware: hardware(&self.shared.config), tier },
            allowance: Allowance {
                month_bytes: config.month_mib.map(|mib| mib << 20),
                never_whole: config.never_whole,
            },
            bytes_per_s: config.kib_per_s.map(|kib| kib << 10),
            reach,
            store: self.limits(),
            spread: self.shared.papers.borrow().enrolment.node.as_bytes().to_vec(),
            look_again: LOOK_AGAIN,
        }
    }

    fn tls(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = self.shared.papers.borrow().roots.clone();
        if let Some(path) = &self.shared.config.releases.place_roots {
            let more = std::fs::read_to_string(path)
                .with_context(|| format!("releases.place_roots: cannot read {}", path.display()))?;
            roots = roots.and(&more).with_context(|| format!("in {}", path.display()))?;
        }
        Ok(Arc::new(roots.client_config(&self.shared.clock)?))
    }

    /// The root that this box was given: by its configuration, or the first that a control plane ever gave it.
    async fn root(&self, settings: &Settings, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<Vec<u8>> {
        if let Some(path) = &self.shared.config.releases.root {
            return std::fs::read(path)
                .with_context(|| format!("releases.root: cannot read {}", path.display()));
        }
        let kept = self.shared.data.root().join(ROOT);
        if let Ok(root) = std::fs::read(&kept) {
            return Ok(root);
        }
        let given = self.shared.papers.borrow().enrolment.release_root.clone();
        let root = match given {
            Some(root) => root.into_bytes(),
            // A box that was enrolled before the network had releases asks whom it was enrolled by.
            None => {
                let address =
                    format!("{}/releases/metadata/1.root.json", settings.control_plane.trim_end_matches('/'));
                let fetcher = Fetcher::new(tls.clone(), settings.reach.clone());
                fetcher.all(&address, LARGEST_ROOT).await.context("this box has no root of releases yet")?
            }
        };
        let keep = root.clone();
        self.shared
            .data
            .on_disk(move |_| anyhow::Ok(noderr_update::keep_root(&kept, &keep)?))
            .await
            .context("the root of releases cannot be kept")?;
        Ok(root)
    }

    fn spent(&self) -> u64 {
        self.shared.board.read().releases_month_bytes
    }

    /// Reports how far everything is.
    fn show(&self, stages: &Stages, spent: u64) {
        let report = |(release, stage): &(ReleaseName, Stage)| ReleaseReport {
            release: NamedRelease::from(release),
            runs: None,
            state: stage.state(),
        };
        let reports: Vec<_> = stages.iter().map(report).collect();
        let is = |state: fn(&Stage) -> bool| stages.iter().any(|(_, stage)| state(stage));
        let phase = match () {
            () if is(|stage| stage.is_under_way() || matches!(stage, Stage::Waiting(_))) => Phase::Working,
            () if is(|stage| matches!(stage, Stage::Refused(_))) => Phase::Failed,
            () => Phase::Applied,
        };
        let error = stages.iter().find_map(|(release, stage)| match stage {
            Stage::Refused(refused) => Some(format!("{release}: {}", &*refused.detail)),
            Stage::Waiting(why) => Some(format!("{release}: {why}")),
            _ => None,
        });
        let body = ReleasesReport { releases: reports.try_into().unwrap_or_default(), month_bytes: spent };
        self.wishes.shows(self.wish, phase, &body, error.as_deref());
        let store = store_in(&self.shared.data, self.limits());
        let shown = stages.iter().map(|(release, stage)| {
            let (state, detail) = in_words(&stage.state());
            let path = matches!(stage, Stage::Held).then(|| store.find(release)).flatten();
            let path = path.map(|held| held.path());
            ReleaseShown { release: release.to_string(), state: state.to_owned(), detail, path }
        });
        let shown = shown.collect();
        self.shared.board.update(|status| {
            status.releases = shown;
            status.releases_month_bytes = spent;
        });
    }
}

/// Words that releases may name for this box.
pub(crate) fn hardware(config: &Config) -> Vec<String> {
    let own = config.releases.hardware.iter().cloned();
    std::iter::once(std::env::consts::ARCH.to_owned()).chain(own).collect()
}

/// The same as a fact of the hello.
pub(crate) fn hardware_fact(config: &Config) -> Option<Section> {
    let words: Vec<_> = hardware(config).iter().take(16).map(|word| Text::truncated(word)).collect();
    Hardware { words: words.try_into().ok()? }.section().ok()
}

fn in_words(state: &ReleaseState) -> (&'static str, String) {
    match state {
        ReleaseState::Waiting(why) => ("waiting", why.to_string()),
        ReleaseState::Looking => ("looking", String::new()),
        ReleaseState::Checking => ("checking", String::new()),
        ReleaseState::Fetching(transfer) => {
            ("fetching", format!("{} of {} bytes", transfer.fetched_bytes, transfer.cost_bytes))
        }
        ReleaseState::Held => ("held", String::new()),
        ReleaseState::Refused(refused) => {
            ("refused", format!("{}: {}", refused.why.name(), &*refused.detail))
        }
    }
}

fn host_of(url: &str) -> &str {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    }
}

/// Not all boxes in the same second.
fn jittered(pause: Duration) -> Duration {
    Backoff::new(pause, pause).pause()
}
