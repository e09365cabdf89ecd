//! The campaigns in their short form; `./dev campaign` runs them whole.

use noderr_hil::{campaign, scratch};
use std::time::Duration;

fn seed() -> u64 {
    std::env::var("NODERR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing_that_was_recorded_and_store_nothing_twice() -> anyhow::Result<()> {
    campaign::kills(scratch()?.path(), 12, seed()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_lose_nothing_and_store_nothing_twice() -> anyhow::Result<()> {
    campaign::outages(scratch()?.path(), Duration::from_secs(8), seed()).await
}
