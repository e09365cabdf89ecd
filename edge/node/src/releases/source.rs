//! Where this node's releases come from, what vouches for them, and what the node may take: by its configuration, its papers and
//! the control plane.

use super::root::{ask_for_root, given_root};
use super::stick::Stick;
use crate::config::Config;
use crate::shared::Shared;
use anyhow::Context as _;
use noderr_protocol::release::{Hardware, ReleaseName, Tier};
use noderr_protocol::{Section, SectionBody as _, Text};
use noderr_update::{
    Allowance, Clock, Fetcher, LastWord, Reach, Round, Setback, Settings, Source, StickFolder, ThisBox,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a transfer looks whether its release is still named.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What releases leave free of the disk: telemetry, documents and the reserve of the spool live there too.
const LEAVE_FREE: u64 = 32 << 20;

/// Whose metadata a round goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Network,
    Stick,
}

/// Begins a round for a node of this tier: over the network or, where the network is of no use, with a stick.
pub(super) async fn begin(
    shared: &Shared,
    tier: Option<Tier>,
    stick: Option<&Stick>,
    wanted: &[ReleaseName],
) -> Result<(Round, By), Setback> {
    let stick = stick.map(|stick| stick.folder.clone());
    let settings = settings(shared, tier, stick.clone());
    let setback = match over_network(shared, settings.clone(), wanted).await {
        Ok(round) => return Ok((round, By::Network)),
        Err(setback) => setback,
    };
    let Some(stick) = stick else { return Err(setback) };
    match round(shared, settings, Source::Folder(stick), wanted).await {
        Ok(round) => Ok((round, By::Stick)),
        Err(on_stick) => {
            tracing::warn!(why = on_stick.why(), "the stick is of no use");
            Err(setback.and(&format!("the stick is of no use either: {}", on_stick.why())))
        }
    }
}

/// What the release keys said last, while nobody can be asked; None where nothing was kept.
pub(super) async fn last_word(shared: &Shared, tier: Option<Tier>) -> Option<LastWord> {
    let unsaid = |error: &anyhow::Error| tracing::warn!("nothing vouches for what is held: {error:#}");
    let root = given_root(shared).await.inspect_err(unsaid).ok().flatten()?;
    let settings = settings(shared, tier, None);
    let word = LastWord::open(shared.data.clone(), settings, &root, shared.known.clone()).await;
    word.inspect_err(|setback| tracing::warn!(why = setback.why(), "nothing vouches for what is held")).ok()
}

async fn over_network(shared: &Shared, settings: Settings, wanted: &[ReleaseName]) -> Result<Round, Setback> {
    let passing = |error: anyhow::Error| Setback::Passing(format!("{error:#}"));
    let tls = tls(shared).map_err(passing)?;
    if given_root(shared).await.map_err(passing)?.is_none() {
        ask_for_root(shared, reach(shared)).await.map_err(passing)?;
    }
    round(shared, settings, Source::Network(tls), wanted).await
}

async fn round(
    shared: &Shared,
    settings: Settings,
    source: Source,
    wanted: &[ReleaseName],
) -> Result<Round, Setback> {
    let root = given_root(shared).await.map_err(|error| Setback::Passing(format!("{error:#}")))?;
    let root = root.ok_or_else(|| Setback::Passing("this box has no root of releases yet".to_owned()))?;
    let trusted = shared.clone();
    let clock: Clock = Arc::new(move || now(&trusted));
    let (data, known) = (shared.data.clone(), shared.known.clone());
    Round::begin(data, settings, source, &root, clock, known, wanted).await
}

/// The time that the box trusts.
pub(super) fn now(shared: &Shared) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(shared.clock.now_ms()).unwrap_or_default())
}

fn settings(shared: &Shared, tier: Option<Tier>, stick: Option<StickFolder>) -> Settings {
    let (config, url) = (&shared.config.releases, &shared.config.control_plane.url);
    Settings {
        control_plane: url.clone(),
        this: ThisBox { hardware: shared.config.releases.words(), tier },
        allowance: Allowance {
            month_bytes: config.month_mib.map(|mib| mib << 20),
            never_whole: config.never_whole,
        },
        bytes_per_s: config.kib_per_s.map(|kib| kib << 10),
        reach: reach(shared),
        store: shared.config.releases.store_limits(),
        leave_free: LEAVE_FREE,
        stick,
        spread: shared.papers.borrow().enrolment.node.as_bytes().to_vec(),
        look_again: LOOK_AGAIN,
    }
}

fn reach(shared: &Shared) -> Reach {
    if shared.config.releases.private_places {
        Reach::Anywhere
    } else {
        Reach::Internet { named: shared.config.control_plane.url.clone() }
    }
}

/// Asks the control plane and whom it names.
pub(super) fn fetcher(shared: &Shared) -> anyhow::Result<Fetcher> {
    Ok(Fetcher::new(tls(shared)?, reach(shared)))
}

fn tls(shared: &Shared) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = shared.papers.borrow().roots.clone();
    if let Some(path) = &shared.config.releases.place_roots {
        let more = std::fs::read_to_string(path)
            .with_context(|| format!("releases.place_roots: cannot read {}", path.display()))?;
        roots = roots.and(&more).with_context(|| format!("in {}", path.display()))?;
    }
    Ok(Arc::new(roots.client_config(&shared.clock)?))
}

/// Words that releases may name for this box, as a fact of the hello.
pub(crate) fn hardware_fact(config: &Config) -> Option<Section> {
    let words: Vec<_> = config.releases.words().iter().take(16).map(|word| Text::truncated(word)).collect();
    Hardware { words: words.try_into().ok()? }.section().ok()
}
