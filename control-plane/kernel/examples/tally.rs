//! A worker that counts: each piece of work is a line in a table, written in the transaction in which the piece is
//! finished. `tally DATABASE_URL SECONDS` works until killed, each piece taking that many seconds; the tests
//! kill the program, and look whether anything was counted twice.

use anyhow::Context as _;
use async_trait::async_trait;
use noderr_front::{Limiter, Rate};
use noderr_kernel::work::{Done, Piece, Queue, WorkedQueue, run_queues};
use noderr_kernel::{
    Authenticate, BaseSettings, Configuration, Credential, Database, Identified, Kernel, NoticeBus,
    Permissions, Recognised,
};
use noderr_kernel::{DatabaseSettings, SettingsSection};
use sqlx::migrate::Migrator;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Counts a number, after a while.
struct Tally(Duration);

#[async_trait]
impl Queue<Arc<Kernel>> for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn attempts(&self) -> i32 {
        1000
    }

    async fn run(&self, kernel: &Arc<Kernel>, piece: Piece) -> anyhow::Result<Done> {
        let number: i64 = piece.payload()?;
        let mut tx = kernel.database.begin().await?;
        sqlx::query("INSERT INTO tally (number) VALUES ($1)").bind(number).execute(&mut *tx).await?;
        tokio::time::sleep(self.0).await;
        let done = piece.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

/// Identifies nobody: a worker answers no requests.
struct Nobody;

#[async_trait]
impl Authenticate for Nobody {
    async fn identify(&self, _: &Credential) -> sqlx::Result<Option<Identified>> {
        Ok(None)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("which database?")?;
    let seconds: f64 = arguments.next().context("how long does a piece take?")?.parse()?;
    let configuration = Configuration::parse(
        &format!("[database]\nurl = \"{url}\""),
        std::iter::empty(),
        &[SettingsSection::of::<DatabaseSettings>()],
    )?;
    let base: &BaseSettings = configuration.base();
    // The test that made the database has brought it up to date.
    let database = Database::open(
        base,
        &configuration.section()?,
        &Migrator::new(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations"))).await?,
    )
    .await?;
    let kernel = Arc::new(Kernel {
        instance: Uuid::now_v7(),
        database,
        authenticate: Box::new(Nobody),
        permissions: Permissions::default(),
        asking: Limiter::new(Rate { per_second: 1, burst: 1 }, 1),
        strangers: Arc::new(Limiter::new(Rate { per_second: 1, burst: 1 }, 1)),
        recognised: Recognised::default(),
        notices: NoticeBus::default(),
        hooks: OnceLock::new(),
        metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
        stop: CancellationToken::new(),
    });
    run_queues(kernel.clone(), vec![WorkedQueue::new(Tally(Duration::from_secs_f64(seconds)), kernel)]).await;
    Ok(())
}
