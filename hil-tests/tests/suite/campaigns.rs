//! The campaigns in their short form; `./dev campaign` runs the campaigns in their whole length.

use noderr_hil::campaign::{self, Planes};
use noderr_hil::scratch;
use std::time::Duration;

const CUT: Duration = Duration::from_secs(8);

fn seed() -> u64 {
    std::env::var("NODERR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing_that_was_recorded_and_store_nothing_twice() -> anyhow::Result<()> {
    campaign::kills(scratch()?.path(), 12, seed()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_lose_nothing_and_store_nothing_twice() -> anyhow::Result<()> {
    campaign::outages(scratch()?.path(), Planes::One, CUT, seed()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_of_one_of_two_planes_lose_nothing_and_store_nothing_twice() -> anyhow::Result<()> {
    campaign::outages(scratch()?.path(), Planes::Two, CUT, seed()).await
}
