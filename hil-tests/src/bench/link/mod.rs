//! The link: our embedded broker against mosquitto, with the same clients, once up to the channel of ingest
//! and once up to the database.

mod door;

mod whole;

pub(super) async fn run() -> anyhow::Result<()> {
    println!("link: mTLS nodes, QoS 1, one record a message; embedded / mosquitto");
    door::run().await?;
    whole::run().await
}

/// One line of the table: ours, theirs, and the ratio.
fn line(what: &str, unit: &str, ours: f64, theirs: f64) {
    println!("  {what:<44} {ours:>9.1} / {theirs:>9.1} {unit:<6} = {:.2}", ours / theirs);
}
