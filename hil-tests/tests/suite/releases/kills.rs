//! kill -9 in the middle of a transfer, again and again.

use noderr_hil::{campaign, scratch};

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_killed_over_and_over_fetches_nothing_twice() -> anyhow::Result<()> {
    let folder = scratch()?;
    campaign::fetches(folder.path(), 50, 1).await
}
