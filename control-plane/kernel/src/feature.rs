//! A feature is one value: everything that a part of the control plane brings, declared in one place.

use crate::forget::Forget;
use crate::listen::{CatchUp, CatchUpRound, Listener, Listens};
use crate::node::{NodeFeature, NodeHooks};
use crate::principal::Permission;
use crate::problems::Kind;
use crate::schedule::{Bound, Job, ScheduledJob};
use crate::settings::SettingsSection;
use crate::work::{Queue, WorkedQueue};
use axum::Router;
use utoipa_axum::router::OpenApiRouter;

/// Everything that a feature brings; `S` is the state of its area. A declaration names only what there is:
/// `Feature { routes, ..Feature::named("nodes") }`.
pub struct Feature<S: 'static> {
    /// The name, which is that of the feature's folder.
    pub name: &'static str,
    /// The routes, under `/api/v1`.
    pub routes: fn() -> OpenApiRouter<S>,
    /// What anybody may fetch, as often as it likes: files that cost next to nothing to hand out.
    pub files: fn() -> Router<S>,
    /// Permissions that people and programs can have.
    pub permissions: &'static [&'static Permission],
    /// Kinds of problems that only this feature has.
    pub problems: &'static [Kind],
    /// Sections of the configuration that the feature reads.
    pub settings: &'static [SettingsSection],
    /// Metrics: name and help.
    pub metrics: &'static [(&'static str, &'static str)],
    /// Jobs: what the feature does at fixed intervals.
    pub jobs: &'static [&'static dyn Job<S>],
    /// Queues: the kinds of work that the feature does.
    pub queues: &'static [&'static dyn Queue<S>],
    /// Listeners: what the feature does about notices.
    pub listens: &'static [Listens<S>],
    /// What the feature looks at in case a notice was missed.
    pub catch_up: Option<CatchUp<S>>,
    /// What the feature does about nodes.
    pub nodes: NodeFeature<S>,
    /// Which rows of the feature's tables are forgotten when.
    pub forgets: fn(&S) -> Vec<Forget>,
}

impl<S> Feature<S> {
    /// A feature that brings nothing yet.
    pub const fn named(name: &'static str) -> Self
    where
        S: Clone + Send + Sync,
    {
        Self {
            name,
            routes: OpenApiRouter::new,
            files: Router::new,
            permissions: &[],
            problems: &[],
            settings: &[],
            metrics: &[],
            jobs: &[],
            queues: &[],
            listens: &[],
            catch_up: None,
            nodes: NodeFeature::nothing(),
            forgets: |_| Vec::new(),
        }
    }
}

/// Everything that features brought, bound to the states of their areas.
#[derive(Default)]
pub struct Plugged {
    /// The features' routes.
    pub routes: Vec<OpenApiRouter>,
    /// What anybody may fetch.
    pub files: Vec<Router>,
    /// The features' jobs.
    pub jobs: Vec<ScheduledJob>,
    /// The features' queues.
    pub queues: Vec<WorkedQueue>,
    /// The features' listeners to notices.
    pub listeners: Vec<Listener>,
    /// What the features look at in case a notice was missed.
    pub rounds: Vec<CatchUpRound>,
    /// What the features do about nodes.
    pub hooks: NodeHooks,
    /// The rows to forget.
    pub forgets: Vec<Forget>,
}

/// Binds the features of an area to its state.
pub fn plug<S: Clone + Send + Sync + 'static>(
    plugged: &mut Plugged,
    features: &'static [Feature<S>],
    state: &S,
) {
    for feature in features {
        plugged.routes.push((feature.routes)().with_state(state.clone()));
        plugged.files.push((feature.files)().with_state(state.clone()));
        plugged.jobs.extend(
            feature
                .jobs
                .iter()
                .map(|job| ScheduledJob(Box::new(Bound::<&'static dyn Job<S>, S>(*job, state.clone())))),
        );
        plugged.queues.extend(
            feature.queues.iter().map(|queue| WorkedQueue::new(crate::work::declared(*queue), state.clone())),
        );
        plugged.listeners.extend(feature.listens.iter().map(|listens| listens.bind(state)));
        plugged.rounds.extend(feature.catch_up.map(|catch_up| CatchUpRound::new(catch_up, state)));
        plugged.hooks.bind(&feature.nodes, state);
        plugged.forgets.extend((feature.forgets)(state));
    }
}

/// What features declare without a state, before the database or anything else is opened.
#[derive(Default)]
pub struct Declared {
    /// Permissions.
    pub permissions: Vec<&'static Permission>,
    /// Kinds of problems, beside the kernel's.
    pub problems: Vec<Kind>,
    /// Sections of the configuration.
    pub sections: Vec<SettingsSection>,
    /// Metrics: name and help.
    pub metrics: Vec<(&'static str, &'static str)>,
}

impl Declared {
    /// Adds what these features declare.
    #[must_use]
    pub fn with<S>(mut self, features: &'static [Feature<S>]) -> Self {
        for feature in features {
            self.permissions.extend(feature.permissions);
            self.problems.extend(feature.problems);
            self.sections.extend(feature.settings);
            self.metrics.extend(feature.metrics);
        }
        self
    }
}
