//! What nodes report: sessions, heartbeats, and spooled records stored exactly once.
//!
//! Every worker takes all messages of its share of the nodes in order. A batch of records is one transaction that
//! locks the lanes it touches, so that two instances never store the same number twice; the marks go out after the
//! commit and not before. What is stored of a record is for the [`Sink`](noderr_kernel::Sink) of the feature that takes
//! its kind.

mod alerts;
mod batch;
mod gather;
mod ingest;
mod jobs;
mod lanes;
mod marks;
mod presence;
mod routes;
mod sequence;
mod telemetry;

pub use ingest::Ingest;
pub use jobs::prepare;

use crate::settings::TelemetrySettings;
use crate::state::Fleet;
use jobs::{KeepPartitions, MarkOffline};
use noderr_kernel::{DoesAboutNodes, Feature, Forget, Section, Takes};
use noderr_protocol::payload;
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    settings: &[Section::of::<TelemetrySettings>()],
    metrics: &[
        ("noderr_ingest_records_total", "Records that were stored"),
        ("noderr_ingest_duplicates_total", "Entries that were stored already, and sent again"),
        ("noderr_ingest_refused_total", "Messages that were not taken, by reason"),
        (
            "noderr_ingest_retries_total",
            "Attempts to store that the database did not take, and that are repeated",
        ),
        (
            "noderr_unreadable_total",
            "What could not be read: a message, its topic, or a record that is kept as it came",
        ),
    ],
    jobs: &[&KeepPartitions, &MarkOffline],
    nodes: DoesAboutNodes {
        records: &[
            Takes { kinds: &[payload::TELEMETRY], sink: || Box::<telemetry::Samples>::default() },
            Takes { kinds: &[payload::ALERT], sink: || Box::<alerts::Alerts>::default() },
        ],
        ..DoesAboutNodes::nothing()
    },
    forgets: |fleet| {
        let days = fleet.settings.telemetry.alert_retention_days;
        ["alerts", "gaps", "unreadable_records"]
            .map(|table| Forget::new(table, format!("received_at < now() - make_interval(days => {days})")))
            .into()
    },
    ..Feature::named("reports")
};
