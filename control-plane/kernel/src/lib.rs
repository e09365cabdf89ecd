//! The kernel: what every feature of the control plane stands on. It knows no feature. Settings, the database
//! and its scopes, HTTP, principals, the schedule of jobs, the work queue, notices, the audit log, metrics.
//!
//! A feature hands itself in as one value, a [`Feature`]; [`plug`] binds it to the state of its area. The composition root
//! holds the list of features, gives everything that the features brought to the runners here, and starts the
//! runners.

mod act;
mod audit;
mod database;
mod feature;
mod forget;
mod http;
mod kernel;
mod listen;
mod node;
mod notices;
mod overdue;
mod principal;
pub mod problems;
mod recognised;
mod schedule;
mod secret;
mod settings;
mod text;
mod within;
pub mod work;

pub use act::Act;
pub use audit::record;
pub use database::{Database, DatabaseSettings, Tx, is_lock_timeout};
pub use feature::{Declared, Feature, Plugged, plug};
pub use forget::{Forget, ForgetExpired};
pub use http::{
    Api, Asked, Caller, Everything, HttpSettings, Json, Made, NodeParam, NodePath, Page, PageQuery, Paged,
    Path, Problem, ProblemBody, Refused, Request, router, serve,
};
pub use kernel::{HasKernel, Kernel};
pub use listen::{CatchUp, CatchUpRound, Listener, Listens, listen};
pub use node::{Greets, Hears, NodeFeature, NodeHooks, RecordSink, Sink, Want, Wants};
pub use notices::{Notice, NoticeBus, Topic, notify};
pub use overdue::EndOverdue;
pub use principal::{
    Authenticate, Credential, Granted, Identified, Permission, Permissions, Principal, Role, Scope, Session,
    Subject, Token,
};
pub use problems::Kind;
pub use recognised::Recognised;
pub use schedule::{Job, ScheduledJob, run_schedule};
pub use secret::{hash_secret, new_secret};
pub use settings::{BaseSettings, Configuration, Secret, Settings, SettingsSection};
pub use text::{Email, Line};
pub use within::Within;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The metrics of this crate: name and help.
pub const METRICS: &[(&str, &str)] = &[
    ("noderr_http_turned_away_total", "HTTPS connections that were closed for lack of room"),
    ("noderr_http_throttled_total", "Requests that were refused because their principal asks too often"),
    ("noderr_job_runs_total", "Runs of scheduled jobs, by job and outcome"),
    ("noderr_notices_total", "Notices heard from the database, by topic"),
    (
        "noderr_notices_overflowed_total",
        "Notices that found a worker's queue full and are made up for by a look round",
    ),
    ("noderr_work_total", "Pieces of work, by queue and outcome"),
];
