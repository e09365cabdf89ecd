//! `noderr-control migrate`.

use crate::features::load_configuration;
use noderr_kernel::Database;
use std::path::Path;

/// Brings the database up to this version.
pub(super) async fn migrate(config: Option<&Path>) -> anyhow::Result<String> {
    let configuration = load_configuration(config)?;
    let database =
        Database::migrate(configuration.base(), &configuration.section()?, &crate::MIGRATIONS).await?;
    database.close().await;
    Ok("the database is up to date\n".to_owned())
}
