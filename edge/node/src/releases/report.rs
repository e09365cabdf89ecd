//! How far the releases are: for the control plane, and for whoever looks at the box.

use crate::desired::{Wish, Wishes};
use crate::shared::Shared;
use crate::status::{ReleaseShown, Standing};
use noderr_protocol::Phase;
use noderr_protocol::release::{
    MOST_RELEASES, NamedRelease, ReleaseName, ReleaseReport, ReleaseState, Releases, ReleasesReport,
};
use noderr_update::{Stage, Watch, store_in};
use std::mem::discriminant;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often progress is reported: every report is a message and, at the control plane, a write.
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// The releases that are wanted, each with how far it is.
pub(super) type Stages = Vec<(ReleaseName, Stage)>;

/// What was said last, to be said again of a newer document that wishes the same.
struct Said {
    phase: Phase,
    body: ReleasesReport,
    error: Option<String>,
}

/// Reports on one wish.
pub(super) struct Reporter {
    shared: Shared,
    wishes: Wishes<Releases>,
    on: Mutex<(Wish<Releases>, Option<Said>)>,
}

/// Watches one of the releases, and reports how far it is.
pub(super) struct Watcher<'a> {
    reporter: &'a Reporter,
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
            self.reporter.show(self.stages, spent, None);
        }
    }
}

impl Reporter {
    pub(super) fn new(shared: &Shared, wish: Wish<Releases>) -> Self {
        Self { shared: shared.clone(), wishes: shared.desired.wishes(), on: Mutex::new((wish, None)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Wish<Releases>, Option<Said>)> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn body(&self) -> Option<Releases> {
        self.lock().0.body.clone()
    }

    /// Goes on with a newer document that wishes the same.
    pub(super) fn attach(&self, wish: Wish<Releases>) {
        let mut on = self.lock();
        on.0 = wish;
        if let (wish, Some(Said { phase, body, error })) = &*on {
            self.wishes.shows(wish, *phase, body, error.as_deref());
        }
    }

    pub(super) const fn watch<'a>(&'a self, stages: &'a mut Stages, number: usize) -> Watcher<'a> {
        Watcher { reporter: self, stages, number, shown: None }
    }

    /// What releases have cost in this month, as far as this start knows.
    pub(super) fn spent(&self) -> u64 {
        self.shared.board.read().releases_month_bytes
    }

    /// Reports how far everything is. `beside` is what else stands in the way.
    pub(super) fn show(&self, stages: &Stages, spent: u64, beside: Option<String>) {
        let report = |(release, stage): &(ReleaseName, Stage)| ReleaseReport {
            release: NamedRelease::from(release),
            runs: None,
            state: stage.state(),
        };
        let reports: Vec<_> = stages.iter().map(report).take(MOST_RELEASES).collect();
        let is = |state: fn(&Stage) -> bool| stages.iter().any(|(_, stage)| state(stage));
        let phase = match () {
            () if is(|stage| stage.is_under_way() || matches!(stage, Stage::Waiting(_))) => Phase::Working,
            () if is(|stage| matches!(stage, Stage::Refused(_))) => Phase::Failed,
            () => Phase::Applied,
        };
        let of_one = |(release, stage): &(ReleaseName, Stage)| Some(format!("{release}: {}", why(stage)?));
        let error = stages.iter().find_map(of_one).or(beside);
        let body = ReleasesReport { releases: reports.try_into().unwrap_or_default(), month_bytes: spent };
        let mut on = self.lock();
        self.wishes.shows(&on.0, phase, &body, error.as_deref());
        on.1 = Some(Said { phase, body, error });
        drop(on);
        self.put_up(stages, spent);
    }

    /// Shows the same on the box's own board.
    fn put_up(&self, stages: &Stages, spent: u64) {
        let store = store_in(&self.shared.data, self.shared.config.releases.store_limits());
        let shown = stages.iter().map(|(release, stage)| {
            let (state, detail) = in_words(&stage.state());
            let path = matches!(stage, Stage::Held)
                .then(|| self.shared.known.verified_path(&store, release))
                .flatten();
            ReleaseShown { release: release.to_string(), state, detail, path }
        });
        let shown = shown.collect();
        self.shared.board.update(|status| {
            status.releases = shown;
            status.releases_month_bytes = spent;
        });
    }
}

/// What stands in the way of a release, if anything does.
pub(super) fn why(stage: &Stage) -> Option<String> {
    match stage {
        Stage::Refused(refused) => Some(refused.detail.to_string()),
        Stage::Waiting(why) => Some(why.clone()),
        _ => None,
    }
}

fn in_words(state: &ReleaseState) -> (Standing, String) {
    match state {
        ReleaseState::Waiting(why) => (Standing::Waiting, why.to_string()),
        ReleaseState::Looking => (Standing::Looking, String::new()),
        ReleaseState::Checking => (Standing::Checking, String::new()),
        ReleaseState::Fetching(transfer) => {
            (Standing::Fetching, format!("{} of {} bytes", transfer.fetched_bytes, transfer.cost_bytes))
        }
        ReleaseState::Held => (Standing::Held, String::new()),
        ReleaseState::Refused(refused) => {
            (Standing::Refused, format!("{}: {}", refused.why.name(), &*refused.detail))
        }
    }
}
