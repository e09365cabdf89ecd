//! Ends transactions of the API's role that last longer than any request: whoever has SQL as this role could otherwise hold locks
//! for which the whole control plane waits.

use crate::kernel::Kernel;
use crate::schedule::Job;
use async_trait::async_trait;
use std::sync::Arc;

/// A request is given up after 30 seconds, and its statements after 25.
const LONGEST_S: f64 = 35.0;

/// Looks for such transactions. Where requests run on the owner's connection, their role is not to be told from the owner.
pub struct EndOverdue;

#[async_trait]
impl Job<Arc<Kernel>> for EndOverdue {
    fn name(&self) -> &'static str {
        "end-overdue"
    }

    fn every_s(&self) -> i32 {
        5
    }

    async fn run(&self, kernel: &Arc<Kernel>) -> anyhow::Result<String> {
        let ended = sqlx::query_scalar!(
            r#"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS "ended!" FROM pg_stat_activity
               WHERE usename = 'noderr_api' AND datname = current_database() AND (xact_start < now() - make_interval(secs => $1)
                 -- No request takes a lock that outlives its transaction.
                 OR xact_start IS NULL AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_stat_activity.pid AND l.locktype = 'advisory'))"#,
            LONGEST_S
        )
        .fetch_one(kernel.database.system())
        .await?;
        if ended > 0 {
            tracing::warn!(
                ended,
                "transactions of the API's role that lasted longer than any request were ended"
            );
        }
        Ok(format!("{ended} transactions ended"))
    }
}
