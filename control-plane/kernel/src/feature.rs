//! A feature is one value: everything it brings, declared in one place and handed in as a whole.

use crate::forget::Forget;
use crate::listen::{CatchUp, Listener, Listens, LookRound};
use crate::node::{DoesAboutNodes, NodeHooks};
use crate::principal::Permission;
use crate::problems::Kind;
use crate::schedule::{Bound, Job, ScheduledJob};
use crate::settings::Section;
use crate::work::{Queue, WorkedQueue};
use utoipa_axum::router::OpenApiRouter;

/// What a feature brings. `S` is the state of its area. Declare it with what there is:
/// `Feature { routes, ..Feature::named("nodes") }`.
pub struct Feature<S: 'static> {
    /// Its name, which is its folder's.
    pub name: &'static str,
    /// Its part of the API, under `/api/v1`.
    pub routes: fn() -> OpenApiRouter<S>,
    /// What it lets people and programs be allowed.
    pub permissions: &'static [&'static Permission],
    /// Kinds of problems that are its own.
    pub problems: &'static [Kind],
    /// Sections of the configuration that it reads.
    pub settings: &'static [Section],
    /// Its metrics: name and help.
    pub metrics: &'static [(&'static str, &'static str)],
    /// What it does on a beat.
    pub jobs: &'static [&'static dyn Job<S>],
    /// Its kinds of work.
    pub queues: &'static [&'static dyn Queue<S>],
    /// What it does about notices.
    pub listens: &'static [Listens<S>],
    /// What it looks at in case a notice was missed.
    pub catch_up: Option<CatchUp<S>>,
    /// What it does about nodes.
    pub nodes: DoesAboutNodes<S>,
    /// What of its tables is forgotten when.
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
            permissions: &[],
            problems: &[],
            settings: &[],
            metrics: &[],
            jobs: &[],
            queues: &[],
            listens: &[],
            catch_up: None,
            nodes: DoesAboutNodes::nothing(),
            forgets: |_| Vec::new(),
        }
    }
}

/// What features brought, bound to their states.
#[derive(Default)]
pub struct Plugged {
    /// Their routes.
    pub routes: Vec<OpenApiRouter>,
    /// Their jobs.
    pub jobs: Vec<ScheduledJob>,
    /// Their queues.
    pub queues: Vec<WorkedQueue>,
    /// What they do about notices.
    pub listeners: Vec<Listener>,
    /// What they look at in case one was missed.
    pub rounds: Vec<LookRound>,
    /// What they do about nodes.
    pub hooks: NodeHooks,
    /// What is to be forgotten.
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
        plugged.rounds.extend(feature.catch_up.map(|catch_up| LookRound::new(catch_up, state)));
        plugged.hooks.bind(&feature.nodes, state);
        plugged.forgets.extend((feature.forgets)(state));
    }
}

/// What features declare, whatever their states: what there is before anything is opened.
#[derive(Default)]
pub struct Declared {
    /// Everything there is to be allowed.
    pub permissions: Vec<&'static Permission>,
    /// Kinds of problems, beside the kernel's.
    pub problems: Vec<Kind>,
    /// Sections of the configuration.
    pub sections: Vec<Section>,
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
