//! The work queue: pieces of work that are enqueued in the transaction that they follow from, and are done
//! once.
//!
//! A piece is taken under a lease that its worker renews; when a worker is killed, its lease ends, and
//! another worker takes the piece. A worker writes to the database in the transaction in which it finishes
//! the piece ([`Piece::finish`]), so that both count or neither. A piece that fails is tried again after a
//! growing pause, and is given up after [`Queue::attempts`]: an administrator can then see the piece, and
//! revive or remove it.

mod db;
mod worker;

pub use db::{DeadPiece, dead, remove, revive};
pub use worker::{WorkedQueue, run_queues};

pub(crate) use worker::declared;

use crate::notices::{Topic, notify};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;
use std::time::Duration;
use uuid::Uuid;

/// The topic of a queue that has something to do. The key is the queue's name.
pub const ENQUEUED: Topic = Topic("work");

/// A kind of work.
#[async_trait]
pub trait Queue<S>: Send + Sync {
    /// The name of the queue in the table.
    fn name(&self) -> &'static str;

    /// Pieces that one instance works on at once.
    fn concurrency(&self) -> usize {
        1
    }

    /// How long a piece stays leased without a sign of life of its worker.
    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Attempts before a piece is given up.
    fn attempts(&self) -> i32 {
        10
    }

    /// Does a piece and finishes it; a piece that ends with an error is tried again.
    async fn run(&self, state: &S, piece: Piece) -> anyhow::Result<Done>;
}

/// A piece of work, taken under a lease.
#[derive(Debug)]
pub struct Piece {
    pub(crate) id: Uuid,
    pub(crate) lease: Uuid,
    pub(crate) attempt: i32,
    pub(crate) payload: Value,
}

/// Proof that a piece was finished; only [`Piece::finish`] makes one.
#[derive(Debug)]
pub struct Done(());

/// Another worker has the piece now: what was done for the piece must not count.
#[derive(Debug, thiserror::Error)]
#[error("the lease of this piece of work has ended, and another worker has it")]
pub struct LeaseLost;

impl Piece {
    /// What is to be done.
    pub fn payload<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        T::deserialize(&self.payload)
    }

    /// How often the piece was tried, this time included.
    pub const fn attempt(&self) -> i32 {
        self.attempt
    }

    /// Finishes the piece in the transaction of the work itself: once that commits, both count.
    pub async fn finish(self, connection: &mut PgConnection) -> anyhow::Result<Done> {
        if db::finish(connection, &self).await? { Ok(Done(())) } else { Err(LeaseLost.into()) }
    }
}

/// Enqueues a piece in the caller's transaction. Of several with one `dedupe_key` that wait, one is enough: the newest
/// payload counts. Enqueue last: whoever enqueues the same key waits until the transaction ends.
pub async fn enqueue(
    connection: &mut PgConnection,
    queue: &str,
    dedupe_key: Option<&str>,
    payload: &impl Serialize,
) -> anyhow::Result<()> {
    db::insert(&mut *connection, queue, dedupe_key, &serde_json::to_value(payload)?).await?;
    notify(connection, &ENQUEUED, queue).await?;
    Ok(())
}
