//! `noderr-control migrate`.

use crate::config::Config;
use crate::database::Database;

pub(crate) async fn migrate(config: Config) -> anyhow::Result<()> {
    let database = Database::open(&config).await?;
    println!("the database is up to date");
    database.close().await;
    Ok(())
}
