//! What nodes report: sessions, heartbeats, and spooled records stored exactly once.
//!
//! Every worker takes all messages of its share of the nodes in order. A batch of records is one transaction that
//! locks the lanes it touches, so that two instances never store the same number twice; the marks go out after the
//! commit and not before. The [`Sink`](noderr_kernel::Sink) of the feature that takes a kind of record
//! decides what is stored of it.

mod alerts;
mod batch;
mod gather;
mod ingest;
mod jobs;
mod lanes;
mod marks;
mod partitions;
mod presence;
mod quota;
mod remains;
mod routes;
mod sequence;
mod telemetry;

pub use ingest::Ingest;
pub use jobs::prepare;

use crate::settings::TelemetrySettings;
use crate::state::Fleet;
use jobs::{KeepPartitions, MarkOffline};
use noderr_kernel::{Feature, Forget, NodeFeature, RecordSink, SettingsSection};
use noderr_protocol::payload;
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    settings: &[SettingsSection::of::<TelemetrySettings>()],
    metrics: &[
        ("noderr_ingest_records_total", "Records that were stored"),
        ("noderr_ingest_duplicates_total", "Entries that were stored already, and sent again"),
        ("noderr_ingest_refused_total", "Messages that were not taken, by reason"),
        ("noderr_ingest_retries_total", "Attempts to store that failed and are repeated"),
        (
            "noderr_unreadable_total",
            "Messages, topics and records that could not be read; such records are kept as they came",
        ),
    ],
    jobs: &[&KeepPartitions, &MarkOffline],
    nodes: NodeFeature {
        records: &[
            RecordSink { kinds: &[payload::TELEMETRY], sink: || Box::<telemetry::Samples>::default() },
            RecordSink { kinds: &[payload::ALERT], sink: || Box::<alerts::Alerts>::default() },
        ],
        ..NodeFeature::nothing()
    },
    forgets: |fleet| {
        let days = fleet.settings.telemetry.alert_retention_days;
        ["alerts", "gaps", "unreadable_records"]
            .map(|table| {
                Forget::new(table, format!("received_at < retention_now() - make_interval(days => {days})"))
            })
            .into()
    },
    ..Feature::named("reports")
};
