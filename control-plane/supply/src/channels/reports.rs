//! What nodes have made of the releases that they should hold, as they report it.

use super::db::{self, NodeReleaseRow, ReleaseStateRow};
use crate::state::Supply;
use noderr_fleet::text;
use noderr_protocol::release::{ReleaseReport, ReleaseState, ReleasesReport};
use noderr_protocol::{NodeId, SectionBody as _, Up};
use std::sync::Arc;
use time::OffsetDateTime;

/// Notes a report.
pub(super) async fn heard(supply: &Arc<Supply>, node: &NodeId, message: &Up) -> sqlx::Result<()> {
    let Up::ActualState(actual) = message else { return Ok(()) };
    let said = actual.sections.iter().find(|section| section.kind == ReleasesReport::KIND);
    // A section without a body says nothing: the part of the node that would fill it has not begun.
    let report = match said {
        Some(said) if said.body.is_empty() => return Ok(()),
        Some(said) => match ReleasesReport::of(&said.body) {
            Ok(report) => report,
            Err(error) => {
                tracing::debug!(node = %node.short(), %error, "a report on releases cannot be read");
                return Ok(());
            }
        },
        None => ReleasesReport::default(),
    };
    let rows: Vec<_> = report.releases.iter().map(row).collect();
    let series: Vec<_> = rows.iter().map(|row| format!("{}/{}", row.kind, row.name)).collect();
    let mut tx = supply.kernel.database.begin().await?;
    db::forget_others(&mut tx, node, &series).await?;
    for row in &rows {
        db::report(&mut tx, node, row).await?;
    }
    tx.commit().await
}

fn row(report: &ReleaseReport) -> NodeReleaseRow {
    let ReleaseReport { release, runs, state } = report;
    let mut row = NodeReleaseRow {
        kind: release.kind.name().into_owned(),
        name: text(&release.name),
        version: text(&release.version),
        runs: runs.as_deref().map(text),
        state: ReleaseStateRow::Held,
        why: None,
        detail: None,
        fetched_bytes: None,
        cost_bytes: None,
        reported_at: OffsetDateTime::UNIX_EPOCH,
    };
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match state {
        ReleaseState::Held => {}
        ReleaseState::Looking | ReleaseState::Checking => row.state = ReleaseStateRow::Fetching,
        ReleaseState::Waiting(why) => (row.state, row.detail) = (ReleaseStateRow::Waiting, Some(text(why))),
        ReleaseState::Fetching(transfer) => {
            row.state = ReleaseStateRow::Fetching;
            row.fetched_bytes = Some(signed(transfer.fetched_bytes));
            row.cost_bytes = Some(signed(transfer.cost_bytes));
        }
        ReleaseState::Refused(refused) => {
            row.state = ReleaseStateRow::Refused;
            row.why = Some(refused.why.name().into_owned());
            row.detail = Some(text(&refused.detail));
        }
    }
    row
}
