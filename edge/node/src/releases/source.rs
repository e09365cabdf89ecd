//! Where this node's releases come from, what vouches for them, and what the node may take: by its configuration, its papers and
//! the control plane.

use crate::config::Config;
use crate::shared::Shared;
use anyhow::Context as _;
use noderr_protocol::release::{Hardware, Tier};
use noderr_protocol::{Section, SectionBody as _, Text};
use noderr_update::{
    Allowance, Clock, Fetcher, Reach, Round, Setback, Settings, Source, StoreLimits, ThisBox,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a transfer looks whether its release is still named.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Where the first root lies that the box was given.
const ROOT: &str = "releases/root.json";
/// The largest root that is taken.
const LARGEST_ROOT: u64 = 256 * 1024;

/// Begins a round for a node of this tier.
pub(super) async fn begin(shared: &Shared, tier: Option<Tier>) -> Result<Round, Setback> {
    let passing = |error: anyhow::Error| Setback::Passing(format!("{error:#}"));
    let settings = settings(shared, tier);
    let tls = tls(shared).map_err(passing)?;
    let root = root(shared, &settings, &tls).await.map_err(passing)?;
    let trusted = shared.clone();
    let clock: Clock = Arc::new(move || now(&trusted));
    let (data, known) = (shared.data.clone(), shared.known.clone());
    Round::begin(data, settings, Source::Network(tls), &root, clock, known).await
}

/// The time that the box trusts.
pub(super) fn now(shared: &Shared) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(shared.clock.now_ms()).unwrap_or_default())
}

fn settings(shared: &Shared, tier: Option<Tier>) -> Settings {
    let (config, url) = (&shared.config.releases, &shared.config.control_plane.url);
    Settings {
        control_plane: url.clone(),
        this: ThisBox { hardware: hardware(&shared.config), tier },
        allowance: Allowance {
            month_bytes: config.month_mib.map(|mib| mib << 20),
            never_whole: config.never_whole,
        },
        bytes_per_s: config.kib_per_s.map(|kib| kib << 10),
        reach: reach(shared),
        store: store_limits(&shared.config),
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

/// The root that this box was given: by its configuration, or the first that a control plane ever gave it.
async fn root(
    shared: &Shared,
    settings: &Settings,
    tls: &Arc<rustls::ClientConfig>,
) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = &shared.config.releases.root {
        return std::fs::read(path).with_context(|| format!("releases.root: cannot read {}", path.display()));
    }
    let kept = shared.data.root().join(ROOT);
    if let Ok(root) = std::fs::read(&kept) {
        return Ok(root);
    }
    let given = shared.papers.borrow().enrolment.release_root.clone();
    let root = match given {
        Some(root) => root.into_bytes(),
        // A box that was enrolled before the network had releases asks whom it was enrolled by.
        None => {
            let base = settings.control_plane.trim_end_matches('/');
            let fetcher = Fetcher::new(tls.clone(), settings.reach.clone());
            let first = fetcher.all(&format!("{base}/releases/metadata/1.root.json"), LARGEST_ROOT).await;
            first.context("this box has no root of releases yet")?
        }
    };
    let keep = root.clone();
    shared
        .data
        .on_disk(move |_| anyhow::Ok(noderr_update::keep_root(&kept, &keep)?))
        .await
        .context("the root of releases cannot be kept")?;
    Ok(root)
}

pub(super) const fn store_limits(config: &Config) -> StoreLimits {
    let config = &config.releases;
    StoreLimits { bytes: config.store_mib << 20, versions: config.versions }
}

/// Words that releases may name for this box.
pub(super) fn hardware(config: &Config) -> Vec<String> {
    let own = config.releases.hardware.iter().cloned();
    std::iter::once(std::env::consts::ARCH.to_owned()).chain(own).collect()
}

/// The same as a fact of the hello.
pub(crate) fn hardware_fact(config: &Config) -> Option<Section> {
    let words: Vec<_> = hardware(config).iter().take(16).map(|word| Text::truncated(word)).collect();
    Hardware { words: words.try_into().ok()? }.section().ok()
}
