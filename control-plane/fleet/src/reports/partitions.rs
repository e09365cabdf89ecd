//! The partitions of telemetry, one a day. Neither making one nor taking one away makes anybody wait: a partition is made as a
//! table of its own and then attached, and detached beside its readers before it is dropped.
//!
//! Every step may be interrupted; the next run goes on from what it finds.

use crate::settings::TelemetrySettings;
use noderr_kernel::{Database, is_lock_timeout};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use time::{Date, Duration};

/// Days for which partitions are made ahead.
const AHEAD: i64 = 3;
/// Instances that look at the same time must not make the same partition.
const ONE_AT_A_TIME: i64 = 7_061_756_469_740_002;

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    made: usize,
    dropped: usize,
    /// Partitions that are past their time and still in somebody's hands.
    waiting: usize,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { made, dropped, waiting } = self;
        write!(f, "{made} partitions made, {dropped} dropped, {waiting} still read")
    }
}

/// A partition, or a table that is to become one or was one.
struct Part {
    name: String,
    day: Date,
    attached: bool,
    /// Detaching it was interrupted.
    detaching: bool,
    bytes: u64,
}

/// Makes the partitions of today and the days ahead, and drops those past retention.
pub(super) async fn keep(database: &Database, settings: &TelemetrySettings) -> sqlx::Result<Done> {
    // A connection that has taken a role on does not go back to the others.
    let mut connection = database.system().acquire().await?.detach();
    let done = keep_with(&mut connection, settings).await;
    connection.close().await?;
    done
}

async fn keep_with(connection: &mut PgConnection, settings: &TelemetrySettings) -> sqlx::Result<Done> {
    // Whoever waits for the lock of a table makes everybody else wait for it too: not for long.
    connection.execute("SET ROLE noderr_partitions; SET lock_timeout = '2s'").await?;
    let alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(ONE_AT_A_TIME)
        .fetch_one(&mut *connection)
        .await?;
    let mut done = Done::default();
    if !alone {
        return Ok(done);
    }
    let (today, known): (Date, Date) =
        sqlx::query_as("SELECT current_date, retention_now()::date").fetch_one(&mut *connection).await?;
    let first_kept = known - Duration::days(settings.retention_days.into());
    let parts = all(connection).await?;
    for day in (0..=AHEAD).filter_map(|ahead| today.checked_add(Duration::days(ahead))) {
        let part = parts.iter().find(|part| part.day == day);
        if !part.is_some_and(|part| part.attached) {
            make(connection, day, part.is_some()).await?;
            done.made += 1;
        }
    }
    let most = settings.retention_mib.map(|mib| u64::from(mib) << 20);
    let mut going = too_old(parts, first_kept, today, most);
    // PostgreSQL detaches one partition at a time: one that was interrupted comes first.
    going.sort_by_key(|part| !part.detaching);
    for part in going {
        // Whoever reads the telemetry now is in the way of every other partition too.
        if done.waiting > 0 && part.attached {
            done.waiting += 1;
            continue;
        }
        match drop_part(connection, &part).await {
            Ok(()) => done.dropped += 1,
            Err(error) if is_lock_timeout(&error) || is_canceled(&error) => done.waiting += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The partitions that go: those past retention, and the oldest of the others while all together take more than `most` bytes. What
/// came today and yesterday stays, whatever it takes.
fn too_old(mut parts: Vec<Part>, first_kept: Date, today: Date, most: Option<u64>) -> Vec<Part> {
    parts.sort_by_key(|part| std::cmp::Reverse(part.day));
    let yesterday = today - Duration::DAY;
    let mut bytes: u64 = 0;
    parts.retain(|part| {
        bytes = bytes.saturating_add(part.bytes);
        part.day < yesterday && (part.day < first_kept || most.is_some_and(|most| bytes > most))
    });
    parts
}

async fn all(connection: &mut PgConnection) -> sqlx::Result<Vec<Part>> {
    let rows = sqlx::query(
        r"SELECT c.relname::text AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS day, i.inhrelid IS NOT NULL AS attached,
             coalesce(i.inhdetachpending, false) AS detaching, coalesce(pg_total_relation_size(c.oid), 0) AS bytes
           FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'telemetry'::regclass
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^telemetry_\d{8}$'",
    )
    .fetch_all(connection)
    .await?;
    let part = |row: &sqlx::postgres::PgRow| Part {
        name: row.get("name"),
        day: row.get("day"),
        attached: row.get("attached"),
        detaching: row.get("detaching"),
        bytes: row.get::<i64, _>("bytes").unsigned_abs(),
    };
    Ok(rows.iter().map(part).collect())
}

async fn make(connection: &mut PgConnection, day: Date, exists: bool) -> sqlx::Result<()> {
    let (name, next) = (name_of(day), day + Duration::DAY);
    if !exists {
        let made = format!(
            "CREATE TABLE {name} (LIKE telemetry INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
        );
        connection.execute(AssertSqlSafe(made)).await?;
    }
    let attached =
        format!("ALTER TABLE telemetry ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')");
    connection.execute(AssertSqlSafe(attached)).await?;
    Ok(())
}

/// Drops a partition. To detach it takes until everybody who reads the telemetry now has read; new readers and writers do not
/// wait for that.
async fn drop_part(connection: &mut PgConnection, part: &Part) -> sqlx::Result<()> {
    let Part { name, attached, detaching, .. } = part;
    if *attached {
        let how = if *detaching { "FINALIZE" } else { "CONCURRENTLY" };
        let detached = format!("ALTER TABLE telemetry DETACH PARTITION {name} {how}");
        connection.execute(AssertSqlSafe(detached)).await?;
    }
    connection.execute(AssertSqlSafe(format!("DROP TABLE {name}"))).await?;
    Ok(())
}

fn name_of(day: Date) -> String {
    format!("telemetry_{:04}{:02}{:02}", day.year(), u8::from(day.month()), day.day())
}

/// Whether the statement was given up because its time was over.
fn is_canceled(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "57014")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of the year 2026.
    fn day(number: u16) -> Date {
        Date::from_ordinal_date(2026, number).unwrap()
    }

    /// The days that go, of the days 1 to 5 that took 10 bytes each; today is 5.
    fn gone(first_kept: u16, most: Option<u64>) -> Vec<u16> {
        let part = |number| {
            let day = day(number);
            Part { name: name_of(day), day, attached: true, detaching: false, bytes: 10 }
        };
        let gone = too_old((1..=5).map(part).collect(), day(first_kept), day(5), most);
        gone.iter().map(|part| part.day.ordinal()).rev().collect()
    }

    #[test]
    fn days_past_retention_go() {
        assert_eq!(gone(3, None), [1, 2]);
        assert!(gone(1, None).is_empty());
        // The clock that things are kept by may be ahead of the machine's, and makes nothing of today old.
        assert_eq!(gone(300, None), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_days_go_while_all_take_too_much_and_yesterday_stays() {
        assert!(gone(1, Some(50)).is_empty());
        assert_eq!(gone(1, Some(49)), [1]);
        assert_eq!(gone(1, Some(30)), [1, 2]);
        assert_eq!(gone(1, Some(0)), [1, 2, 3]);
    }
}
