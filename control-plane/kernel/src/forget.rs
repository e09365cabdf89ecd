//! Forgets rows that have served their purpose, so that no table grows for ever.

use crate::kernel::{HasKernel, Kernel};
use crate::schedule::Job;
use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use std::sync::Arc;

/// Rows deleted by one statement: few enough that nobody waits long for the statement.
const AT_ONCE: u64 = 5000;

/// Rows of a table that have served their purpose.
#[derive(Debug, Clone)]
pub struct Forget {
    /// The table.
    pub table: &'static str,
    /// The condition, in SQL. What is kept for a while is held against `retention_now()`.
    pub when: String,
}

impl Forget {
    /// Rows of `table` for which `when` holds.
    pub fn new(table: &'static str, when: impl Into<String>) -> Self {
        Self { table, when: when.into() }
    }
}

/// Deletes everything that the features want forgotten.
pub struct ForgetExpired(pub Vec<Forget>);

/// The rows of the kernel's own tables that are forgotten.
pub(crate) fn of_the_kernel() -> Vec<Forget> {
    vec![
        Forget::new("job_runs", "started_at < retention_now() - interval '7 days'"),
        Forget::new("idempotency", "created_at < retention_now() - interval '2 days'"),
        Forget::new("work", "dead_at < retention_now() - interval '90 days'"),
    ]
}

#[async_trait]
impl Job<Arc<Kernel>> for ForgetExpired {
    fn name(&self) -> &'static str {
        "forget-expired"
    }

    fn every_s(&self) -> i32 {
        3600
    }

    async fn run(&self, kernel: &Arc<Kernel>) -> anyhow::Result<String> {
        // A clock that is years ahead must not make everything old at once; an hour of it costs a day at most.
        sqlx::query!(
            "UPDATE retention_clock SET at = CASE WHEN now() < at THEN now() ELSE least(now(), at + interval '1 day') END"
        )
        .execute(kernel.kernel().database.system())
        .await?;
        let mut total = 0;
        for Forget { table, when } in of_the_kernel().iter().chain(&self.0) {
            loop {
                let statement = format!(
                    "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {when} LIMIT {AT_ONCE}))"
                );
                let done =
                    sqlx::query(AssertSqlSafe(statement)).execute(kernel.kernel().database.system()).await?;
                total += done.rows_affected();
                if done.rows_affected() < AT_ONCE {
                    break;
                }
            }
        }
        Ok(format!("{total} rows forgotten"))
    }
}
