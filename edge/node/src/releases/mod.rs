//! The part that brings the releases which the node should hold. Metadata, connections and indexes live only while there is
//! something to be brought; between two rounds the part only waits.

mod alone;
mod report;
mod source;
mod stick;

pub(crate) use source::hardware_fact;

use crate::desired::Wish;
use crate::shared::Shared;
use alone::Alone;
use noderr_part::Backoff;
use noderr_protocol::release::{ReleaseName, Releases};
use noderr_update::{Stage, store_in};
use report::{Reporter, Stages};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(shared: Shared) {
    let spent = noderr_update::spent(shared.data.clone(), source::now(&shared));
    shared.board.update(|status| status.releases_month_bytes = spent);
    let mut wishes = shared.desired.wishes::<Releases>();
    let mut wish = wishes.next().await;
    while let Some(current) = wish {
        wishes.taken(&current);
        let work = Arc::new(Work::new(&shared, current));
        let given_up = CancellationToken::new();
        // A part that is dropped leaves no thread behind that goes on bringing.
        let _dropped = given_up.clone().drop_guard();
        let bringing = keep_at_it(work.clone(), given_up.clone());
        tokio::pin!(bringing);
        wish = loop {
            tokio::select! {
                newer = wishes.next() => match newer {
                    // Another section of the document has changed: what comes goes on coming.
                    Some(newer) if newer.body == work.reporter.body() => {
                        wishes.taken(&newer);
                        work.reporter.attach(newer);
                    }
                    newer => {
                        given_up.cancel();
                        break newer;
                    }
                },
                () = &mut bringing => return,
            }
        };
        bringing.await;
    }
}

/// What is to be done about one wish.
struct Work {
    shared: Shared,
    reporter: Reporter,
    releases: Releases,
    alone: Alone,
}

/// Brings what is wished, tries again what could not be had, and looks now and then whether all is still as it was.
async fn keep_at_it(work: Arc<Work>, given_up: CancellationToken) {
    let mut soon = Backoff::new(Duration::from_secs(5), Duration::from_secs(900));
    let look_every = Duration::from_secs(work.shared.config.releases.look_every_s);
    loop {
        let stick = stick::mark(&work.shared);
        let (round, token) = (work.clone(), given_up.clone());
        // Signatures, folders and a slow disk keep a thread of their own busy: the link and the watchdog have the other one.
        let round =
            spawn_blocking(move || Handle::current().block_on(token.run_until_cancelled(round.round())));
        let pause = match round.await {
            Ok(Some(stages)) if !stages.iter().any(|(_, stage)| matches!(stage, Stage::Waiting(_))) => {
                soon.reset();
                jittered(look_every)
            }
            Ok(Some(_)) => soon.pause().min(look_every),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "a round over the releases has ended before its end");
                soon.pause()
            }
        };
        let pause = work.alone.pause(&work.shared, pause);
        tokio::select! {
            () = given_up.cancelled() => return,
            () = stick::comes(&work.shared, stick) => soon.reset(),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Work {
    fn new(shared: &Shared, wish: Wish<Releases>) -> Self {
        let releases = wish.body.clone().unwrap_or_default();
        Self {
            shared: shared.clone(),
            reporter: Reporter::new(shared, wish),
            releases,
            alone: Alone::new(shared),
        }
    }

    /// One round over everything that is wanted.
    async fn round(&self) -> Stages {
        let told = self.told();
        let asked = self.alone.wanted(&self.shared, self.releases.tier, &told).await;
        let wanted = asked.unwrap_or(told);
        let mut stages: Stages = wanted.iter().map(|release| (release.clone(), Stage::Looking)).collect();
        if wanted.is_empty() {
            self.reporter.show(&stages, self.reporter.spent(), None);
            return stages;
        }
        let mut round = match source::begin(&self.shared, self.releases.tier).await {
            Ok(round) => round,
            Err(setback) => {
                let stopped = Stage::stopped(setback);
                for (release, stage) in &mut stages {
                    *stage = if self.is_held(release) { Stage::Held } else { stopped.clone() };
                }
                self.reporter.show(&stages, self.reporter.spent(), report::why(&stopped));
                return stages;
            }
        };
        for number in 0..stages.len() {
            let release = wanted[number].clone();
            let mut watcher = self.reporter.watch(&mut stages, number);
            let stage = round.bring(&release, &wanted, &mut watcher).await;
            if let Stage::Refused(refused) = &stage {
                tracing::warn!(%release, why = %refused.why.name(), detail = &*refused.detail, "a release is not taken");
            }
        }
        stages
    }

    /// What the control plane has told this node to hold.
    fn told(&self) -> Vec<ReleaseName> {
        self.releases.wanted.iter().filter_map(|named| ReleaseName::try_from(named).ok()).collect()
    }

    /// Whether a release is held and whole, while nothing can be asked about it.
    fn is_held(&self, release: &ReleaseName) -> bool {
        let held = store_in(&self.shared.data, self.shared.config.releases.store_limits()).find(release);
        held.is_some_and(|held| self.shared.known.check(&held))
    }
}

/// Not all boxes in the same second.
fn jittered(pause: Duration) -> Duration {
    Backoff::new(pause, pause).pause()
}
