//! The link: our embedded broker against mosquitto, with the same clients, once up to the channel of ingest
//! and once up to the database.

mod door;

mod whole;

pub(super) async fn run() -> anyhow::Result<()> {
    println!("link: mTLS nodes, QoS 1, one record a message; embedded / mosquitto");
    door::run().await?;
    whole::run().await
}
