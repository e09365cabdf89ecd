//! `noderr-control admin …`.

use crate::config::Config;
use crate::database::Database;
use crate::features::{access, audit};
use anyhow::ensure;
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _};

const SHORTEST: usize = 12;

pub(crate) async fn admin_set(config: Config, email: &str) -> anyhow::Result<()> {
    let email = email.trim().to_lowercase();
    ensure!(email.contains('@'), "`{email}` is not an e-mail address");
    let password = read_password(&format!("password for {email} (at least {SHORTEST} characters): "))?;
    ensure!(password.chars().count() >= SHORTEST, "a password has at least {SHORTEST} characters");
    let hash = access::hash_password(password).await?;
    let database = Database::open(&config).await?;
    let mut tx = database.begin().await?;
    access::set_admin(&mut tx, &email, &hash).await?;
    audit::record(&mut tx, "command line", "admin.set", &email, &json!({})).await?;
    tx.commit().await?;
    println!("{email} may log in");
    database.close().await;
    Ok(())
}

pub(crate) async fn admin_remove(config: Config, email: &str) -> anyhow::Result<()> {
    let email = email.trim().to_lowercase();
    let database = Database::open(&config).await?;
    let mut tx = database.begin().await?;
    ensure!(access::remove_admin(&mut tx, &email).await?, "there is no administrator {email}");
    audit::record(&mut tx, "command line", "admin.remove", &email, &json!({})).await?;
    tx.commit().await?;
    println!("{email} may no longer log in");
    database.close().await;
    Ok(())
}

pub(crate) async fn admin_reset_second_factor(config: Config, email: &str) -> anyhow::Result<()> {
    let email = email.trim().to_lowercase();
    let database = Database::open(&config).await?;
    let mut tx = database.begin().await?;
    ensure!(
        access::reset_second_factor(&mut tx, &email).await?,
        "there is no administrator {email} with a second factor"
    );
    audit::record(&mut tx, "command line", "second-factor.reset", &email, &json!({})).await?;
    tx.commit().await?;
    println!("{email} logs in without a second factor until a new one is set up; their sessions have ended");
    database.close().await;
    Ok(())
}

pub(crate) async fn admin_list(config: Config) -> anyhow::Result<()> {
    let database = Database::open(&config).await?;
    let mut tx = database.begin().await?;
    for email in access::list_admins(&mut tx).await? {
        println!("{email}");
    }
    drop(tx);
    database.close().await;
    Ok(())
}

/// From the terminal without an echo, or a line from whatever is piped in.
fn read_password(prompt: &str) -> std::io::Result<String> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt);
    }
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
