//! The work queue: each piece is done once, whatever is killed or stopped; a piece that fails is tried again,
//! given up, seen, and revived.

use anyhow::Context as _;
use async_trait::async_trait;
use noderr_hil::plane::TestPlane;
use noderr_hil::until;
use noderr_kernel::Kernel;
use noderr_kernel::work::{Done, Piece, Queue, WorkedQueue, enqueue, run_queues};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

const PIECES: i64 = 300;

/// Starts another process that works on the queue `tally`.
fn worker(plane: &TestPlane, seconds: f64) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    let target =
        program.parent().and_then(std::path::Path::parent).context("tests lie in a target folder")?;
    Command::new(target.join("examples/tally"))
        .args([plane.url.as_str(), &seconds.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the worker; `cargo build --workspace --all-targets` makes it")
}

async fn enqueue_all(plane: &TestPlane, pieces: i64) -> anyhow::Result<()> {
    sqlx::query("CREATE TABLE tally (number bigint)").execute(&plane.owner).await?;
    sqlx::query("GRANT INSERT ON tally TO noderr_system").execute(&plane.owner).await?;
    let mut tx = plane.plane.kernel.database.begin().await?;
    for number in 0..pieces {
        enqueue(&mut tx, "tally", None, &number).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn counts(plane: &TestPlane) -> anyhow::Result<(i64, i64, i64)> {
    let counts = "SELECT (SELECT count(*) FROM work), (SELECT count(*) FROM tally), (SELECT count(DISTINCT number) FROM tally)";
    Ok(sqlx::query_as(counts).fetch_one(&plane.owner).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_leave_every_piece_done_once() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    enqueue_all(&plane, PIECES).await?;
    let mut workers = [worker(&plane, 0.05)?, worker(&plane, 0.05)?, worker(&plane, 0.05)?];
    for _ in 0..10 {
        let before = counts(&plane).await?.1;
        // Each kill comes in the middle of work: at least one piece further than the last kill, or when all
        // is done.
        until("work to go on", Duration::from_secs(20), || async {
            let (left, tallied, _) = counts(&plane).await?;
            Ok((tallied > before || left == 0).then_some(()))
        })
        .await?;
        let unlucky = rand::rng().random_range(0..workers.len());
        workers[unlucky].kill().await?;
        workers[unlucky] = worker(&plane, 0.05)?;
    }
    until("all work to be done", Duration::from_secs(60), || async {
        Ok((counts(&plane).await?.0 == 0).then_some(()))
    })
    .await?;
    assert_eq!(counts(&plane).await?, (0, PIECES, PIECES));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_stopped_for_longer_than_its_lease_does_nothing_twice() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    enqueue_all(&plane, 4).await?;
    // A piece takes longer than the lease of a second, which is renewed meanwhile.
    let slow = worker(&plane, 2.5)?;
    let pid = Pid::from_raw(i32::try_from(slow.id().context("it runs")?)?).context("a process")?;
    let leased = "SELECT count(*) FROM work WHERE lease IS NOT NULL AND attempts = 1";
    until("the pieces to be taken", Duration::from_secs(20), || async {
        Ok((sqlx::query_scalar::<_, i64>(leased).fetch_one(&plane.owner).await? == 4).then_some(()))
    })
    .await?;
    kill_process(pid, Signal::STOP)?;
    let other = worker(&plane, 0.01)?;
    until("another worker to take over", Duration::from_secs(20), || async {
        Ok((counts(&plane).await?.0 == 0).then_some(()))
    })
    .await?;
    drop(other);
    kill_process(pid, Signal::CONT)?;
    // The stopped worker has given its pieces up once its transactions are over.
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    until("the stopped worker to give up", Duration::from_secs(20), || async {
        Ok((sqlx::query_scalar::<_, i64>(open).fetch_one(&plane.owner).await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(counts(&plane).await?, (0, 4, 4));
    Ok(())
}

/// A queue that fails until it is told not to.
struct Moody(Arc<AtomicBool>);

#[async_trait]
impl Queue<Arc<Kernel>> for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn attempts(&self) -> i32 {
        1
    }

    async fn run(&self, kernel: &Arc<Kernel>, piece: Piece) -> anyhow::Result<Done> {
        anyhow::ensure!(self.0.load(Ordering::SeqCst), "not today");
        let mut tx = kernel.database.begin().await?;
        let done = piece.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_given_up_seen_and_revived() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let (kernel, good) = (plane.plane.kernel.clone(), Arc::new(AtomicBool::new(false)));
    let queue = WorkedQueue::new(Moody(good.clone()), kernel.clone());
    let _working = AbortOnDropHandle::new(tokio::spawn(run_queues(kernel.clone(), vec![queue])));
    let mut tx = kernel.database.begin().await?;
    for _ in 0..3 {
        enqueue(&mut tx, "moody", Some("one"), &json!({ "what": "it" })).await?;
    }
    tx.commit().await?;

    let admin = plane.admin();
    let dead = until("the piece to be given up", Duration::from_secs(20), || async {
        let dead = admin.get("/work").await?.expect(200)?["items"].as_array().cloned().unwrap_or_default();
        Ok((!dead.is_empty()).then_some(dead))
    })
    .await?;
    assert_eq!(dead.len(), 1, "of several with one key, one is enough: {dead:?}");
    assert_eq!((&dead[0]["last_error"], &dead[0]["queue"]), (&json!("not today"), &json!("moody")));
    let path = format!("/work/{}", dead[0]["id"].as_str().unwrap_or_default());
    let auditor = plane.with_role("auditor").await?;
    assert_eq!(auditor.post(&format!("{path}/retry"), &json!({})).await?.problem(), "permission");

    good.store(true, Ordering::SeqCst);
    admin.post(&format!("{path}/retry"), &json!({})).await?.expect(204)?;
    until("the piece to be done", Duration::from_secs(20), || async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM work").fetch_one(&plane.owner).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    assert_eq!(admin.delete(&path).await?.problem(), "not-found");
    Ok(())
}

/// A queue that does its work, and finishes the piece when it is told to.
struct Patient {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[async_trait]
impl Queue<Arc<Kernel>> for Patient {
    fn name(&self) -> &'static str {
        "tally"
    }

    async fn run(&self, kernel: &Arc<Kernel>, piece: Piece) -> anyhow::Result<Done> {
        let mut tx = kernel.database.begin().await?;
        sqlx::query("INSERT INTO tally (number) VALUES (1)").execute(&mut *tx).await?;
        self.begun.notify_one();
        self.go_on.notified().await;
        let done = piece.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_for_a_piece_that_another_has_does_not_count() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    enqueue_all(&plane, 1).await?;
    let (kernel, begun, go_on) =
        (plane.plane.kernel.clone(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let queue = WorkedQueue::new(Patient { begun: begun.clone(), go_on: go_on.clone() }, kernel.clone());
    let working = AbortOnDropHandle::new(tokio::spawn(run_queues(kernel.clone(), vec![queue])));
    begun.notified().await;
    // This looks as if the worker had slept over its lease, and another had taken the piece.
    let taken = "UPDATE work SET lease = gen_random_uuid(), leased_until = now() + interval '1 hour'";
    sqlx::query(taken).execute(&plane.owner).await?;
    go_on.notify_one();
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    until("the worker to come to its end", Duration::from_secs(20), || async {
        Ok((sqlx::query_scalar::<_, i64>(open).fetch_one(&plane.owner).await? == 0).then_some(()))
    })
    .await?;
    drop(working);
    assert_eq!(counts(&plane).await?, (1, 0, 0));
    Ok(())
}

/// Does what its payload says, and counts how often; a payload of `fail` fails.
struct Telling {
    heard: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl Queue<Arc<Kernel>> for Telling {
    fn name(&self) -> &'static str {
        "telling"
    }

    async fn run(&self, kernel: &Arc<Kernel>, piece: Piece) -> anyhow::Result<Done> {
        let what: String = piece.payload()?;
        self.heard.send(format!("{what} {}", piece.attempt()))?;
        anyhow::ensure!(!what.starts_with("fail"), "told to");
        let mut tx = kernel.database.begin().await?;
        let done = piece.finish(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

struct Told {
    plane: TestPlane,
    heard: mpsc::UnboundedReceiver<String>,
    _working: AbortOnDropHandle<()>,
}

impl Told {
    async fn open() -> anyhow::Result<Self> {
        let plane = TestPlane::open().await?;
        let kernel = plane.plane.kernel.clone();
        let (sender, heard) = mpsc::unbounded_channel();
        let queue = WorkedQueue::new(Telling { heard: sender }, kernel.clone());
        let working = AbortOnDropHandle::new(tokio::spawn(run_queues(kernel, vec![queue])));
        Ok(Self { plane, heard, _working: working })
    }

    async fn enqueue(&self, what: &str) -> anyhow::Result<()> {
        let mut tx = self.plane.plane.kernel.database.begin().await?;
        enqueue(&mut tx, "telling", Some("one"), &what).await?;
        Ok(tx.commit().await?)
    }

    async fn heard(&mut self) -> anyhow::Result<String> {
        let heard = tokio::time::timeout(Duration::from_secs(20), self.heard.recv());
        heard.await.context("nothing was done")?.context("the worker ended")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_enqueued_again_before_it_was_begun_is_done_behind_the_newer_commit() -> anyhow::Result<()> {
    let mut told = Told::open().await?;
    sqlx::query(
        "INSERT INTO work (id, queue, dedupe_key, payload, run_at)
         VALUES (gen_random_uuid(), 'telling', 'one', '\"first\"', now() + interval '1 hour')",
    )
    .execute(&told.plane.owner)
    .await?;
    let mut tx = told.plane.plane.kernel.database.begin().await?;
    enqueue(&mut tx, "telling", Some("one"), &"second").await?;
    let taken: i64 = sqlx::query_scalar(
        "WITH taken AS (SELECT id FROM work WHERE queue = 'telling' FOR UPDATE SKIP LOCKED) SELECT count(*) FROM taken",
    )
    .fetch_one(&told.plane.owner)
    .await?;
    assert_eq!(taken, 0, "a worker could take the piece before it can see what it is for");
    tx.commit().await?;
    assert_eq!(told.heard().await?, "second 1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_out_a_failure_is_done_at_once_when_it_is_enqueued_again() -> anyhow::Result<()> {
    let mut told = Told::open().await?;
    told.enqueue("fail").await?;
    assert_eq!(told.heard().await?, "fail 1");
    assert_eq!(told.heard().await?, "fail 2", "it is tried again by itself");
    until("the piece to be given back", Duration::from_secs(20), || async {
        let waits = "SELECT count(*) FROM work WHERE lease IS NULL AND attempts = 2";
        Ok((sqlx::query_scalar::<_, i64>(waits).fetch_one(&told.plane.owner).await? == 1).then_some(()))
    })
    .await?;
    sqlx::query("UPDATE work SET run_at = now() + interval '1 hour'").execute(&told.plane.owner).await?;
    told.enqueue("better").await?;
    assert_eq!(told.heard().await?, "better 1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_act_may_enqueue_and_touch_nothing_else_of_the_queue() -> anyhow::Result<()> {
    let mut told = Told::open().await?;
    let mut tx = told.plane.owner.begin().await?;
    sqlx::query("SET LOCAL ROLE noderr_operator").execute(&mut *tx).await?;
    enqueue(&mut tx, "telling", Some("one"), &"theirs").await?;
    tx.commit().await?;
    assert_eq!(told.heard().await?, "theirs 1");
    let mut tx = told.plane.owner.begin().await?;
    sqlx::query("SET LOCAL ROLE noderr_operator").execute(&mut *tx).await?;
    let seen = sqlx::query("SELECT payload FROM work").fetch_all(&mut *tx).await;
    assert!(seen.is_err(), "an operator sees what others enqueued");
    Ok(())
}
