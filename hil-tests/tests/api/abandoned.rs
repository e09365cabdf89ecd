//! Requests that are abandoned in the middle: a client hangs up, a deadline passes, a lease is lost. The
//! request's future is dropped wherever it waits, and must leave nothing behind on the connection that the
//! next request gets.

use noderr_hil::plane::TestPlane;
use noderr_hil::until;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How soon a transaction must end; far sooner than the database itself would end an idle transaction.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Polls a future `polls` times, and drops it.
async fn abandoned_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn nothing_is_left_open(plane: &TestPlane) -> anyhow::Result<()> {
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    until("every transaction to end", AT_ONCE, || async {
        Ok((sqlx::query_scalar::<_, i64>(open).fetch_one(&plane.owner).await? == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_abandoned_while_it_begins_takes_no_later_statement_with_it()
-> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    sqlx::query("CREATE TABLE said (number bigint)").execute(&plane.owner).await?;
    sqlx::query("GRANT INSERT ON said TO noderr_system").execute(&plane.owner).await?;
    let database = &plane.plane.kernel.database;
    let mut said = 0_i64;
    for polls in 0..40 {
        for _ in 0..4 {
            abandoned_after(polls, database.begin()).await;
        }
        // A statement that succeeded is in the database, for everybody and at once.
        for _ in 0..4 {
            sqlx::query("INSERT INTO said VALUES (1)").execute(database.system()).await?;
            said += 1;
        }
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM said").fetch_one(&plane.owner).await?;
        assert_eq!(kept, said, "abandoned after {polls} polls");
    }
    nothing_is_left_open(&plane).await
}
