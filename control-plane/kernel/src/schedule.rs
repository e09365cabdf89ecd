//! The schedule: jobs with a name, an interval, a `run`. Any instance may run any job; a lease in the
//! database makes sure that only one instance does. Each job has a task of its own, so that no job waits for
//! another.

use crate::kernel::Kernel;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// How long a run keeps its lease without a sign of life of its instance.
const LEASE_S: f64 = 60.0;
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// How long a run may take at most.
const LONGEST: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A job: work at fixed intervals.
#[async_trait]
pub trait Job<S>: Send + Sync {
    /// The name of the job's row in the table.
    fn name(&self) -> &'static str;
    /// Seconds from one run to the next.
    fn every_s(&self) -> i32;
    /// Does the work; the returned outcome is kept with the run.
    async fn run(&self, state: &S) -> anyhow::Result<String>;
}

/// A job together with the state that it works on.
#[async_trait]
pub(crate) trait BoundJob: Send + Sync {
    fn name(&self) -> &'static str;
    fn every_s(&self) -> i32;
    async fn run(&self) -> anyhow::Result<String>;
}

pub(crate) struct Bound<J, S>(pub(crate) J, pub(crate) S);

#[async_trait]
impl<S: Send + Sync> BoundJob for Bound<&'static dyn Job<S>, S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn every_s(&self) -> i32 {
        self.0.every_s()
    }

    async fn run(&self) -> anyhow::Result<String> {
        self.0.run(&self.1).await
    }
}

#[async_trait]
impl<S: Send + Sync> BoundJob for Bound<Box<dyn Job<S>>, S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn every_s(&self) -> i32 {
        self.0.every_s()
    }

    async fn run(&self) -> anyhow::Result<String> {
        self.0.run(&self.1).await
    }
}

/// Runs all jobs that are due, for ever.
pub async fn run_schedule(kernel: Arc<Kernel>, jobs: Vec<ScheduledJob>) {
    let mut tasks = JoinSet::new();
    for ScheduledJob(job) in jobs {
        tasks.spawn(keep_running(kernel.clone(), Arc::from(job)));
    }
    // No task ends by itself.
    tasks.join_next().await;
}

/// A job that is bound to its state.
pub struct ScheduledJob(pub(crate) Box<dyn BoundJob>);

impl ScheduledJob {
    /// Binds a job to its state.
    pub fn new<S: Send + Sync + 'static>(job: impl Job<S> + 'static, state: S) -> Self {
        Self(Box::new(Bound::<Box<dyn Job<S>>, S>(Box::new(job), state)))
    }
}

async fn keep_running(kernel: Arc<Kernel>, job: Arc<dyn BoundJob>) {
    let mut known = false;
    loop {
        if !known {
            known = say(make_known(&kernel, &*job).await);
        } else if let Ok(Some(run)) = lease(&kernel, &*job).await.inspect_err(warn) {
            let outcome = run_once(&kernel, &job, run).await;
            say(release(&kernel, &*job, run, outcome).await);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn say(result: sqlx::Result<()>) -> bool {
    result.inspect_err(warn).is_ok()
}

fn warn(error: &sqlx::Error) {
    tracing::warn!(%error, "the schedule of jobs cannot be read or written");
}

/// Makes one run, to its end or to the end of its lease; returns the outcome, or why the run has failed.
async fn run_once(kernel: &Arc<Kernel>, job: &Arc<dyn BoundJob>, run: i64) -> Result<String, String> {
    let running = job.clone();
    // The job has a task of its own, so that a job that panics has failed and does no other harm.
    let mut running = AbortOnDropHandle::new(tokio::spawn(async move { running.run().await }));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = tokio::time::sleep(LONGEST) => return Err(failed(&**job, "took too long")),
        () = lease_lost(kernel, &**job, run) => return Err(failed(&**job, "lost its lease")),
    };
    match ended {
        Ok(Ok(outcome)) => {
            metrics::counter!("noderr_job_runs_total", "job" => job.name(), "outcome" => "done").increment(1);
            Ok(outcome)
        }
        Ok(Err(error)) => Err(failed(&**job, &format!("failed: {error:#}"))),
        Err(error) => Err(failed(&**job, &format!("panicked: {error}"))),
    }
}

fn failed(job: &dyn BoundJob, why: &str) -> String {
    tracing::error!(job = job.name(), why, "a job failed");
    metrics::counter!("noderr_job_runs_total", "job" => job.name(), "outcome" => "failed").increment(1);
    why.to_owned()
}

async fn make_known(kernel: &Kernel, job: &dyn BoundJob) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO jobs (name, every_s) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET every_s = $2
         WHERE jobs.every_s <> $2",
        job.name(),
        job.every_s()
    )
    .execute(kernel.database.system())
    .await?;
    Ok(())
}

/// Takes the lease of a job that is due and not leased; returns the number of the run.
async fn lease(kernel: &Kernel, job: &dyn BoundJob) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "WITH due AS (
           UPDATE jobs SET leased_by = $2, leased_until = now() + make_interval(secs => $3::float8),
             next_run_at = now() + make_interval(secs => every_s)
           WHERE name = $1
             -- A time that is further off than any run or lease ever was is of a clock that was ahead.
             AND (next_run_at <= now() OR next_run_at > now() + make_interval(secs => 2 * every_s))
             AND (leased_until IS NULL OR leased_until < now() OR leased_until > now() + make_interval(secs => 2 * $3::float8))
           RETURNING name)
         INSERT INTO job_runs (name, instance) SELECT name, $2 FROM due RETURNING id",
        job.name(),
        kernel.instance,
        LEASE_S
    )
    .fetch_optional(kernel.database.system())
    .await
}

/// Renews the lease of a run; returns once the lease is lost.
async fn lease_lost(kernel: &Kernel, job: &dyn BoundJob, run: i64) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let renewed = sqlx::query!(
            "UPDATE jobs SET leased_until = now() + make_interval(secs => $3) WHERE name = $1 AND leased_by = $2
               AND (SELECT max(id) FROM job_runs WHERE name = $1) = $4",
            job.name(),
            kernel.instance,
            LEASE_S,
            run
        )
        .execute(kernel.database.system())
        .await;
        if matches!(renewed, Ok(done) if done.rows_affected() == 0) {
            return;
        }
    }
}

/// Gives the lease back. What has failed is tried again after a twentieth of the interval, but not at once: each run is a row.
async fn release(
    kernel: &Kernel,
    job: &dyn BoundJob,
    run: i64,
    ended: Result<String, String>,
) -> sqlx::Result<()> {
    let has_failed = ended.is_err();
    let outcome = ended.unwrap_or_else(|why| why);
    let mut tx = kernel.database.begin().await?;
    sqlx::query!(
        "UPDATE job_runs SET finished_at = now(), outcome = $2 WHERE id = $1",
        run,
        outcome.as_str()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE jobs SET leased_by = NULL, leased_until = NULL,
           next_run_at = CASE WHEN $3 THEN now() + make_interval(secs => GREATEST(every_s / 20.0, LEAST(every_s, 15))) ELSE next_run_at END
         WHERE name = $1 AND leased_by = $2",
        job.name(),
        kernel.instance,
        has_failed
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
