//! `noderr-control admin …`.

use super::with_database;
use anyhow::{anyhow, ensure};
use noderr_kernel::{Email, Role};
use noderr_people::{admins, second_factor};
use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

const SHORTEST: usize = 12;

pub(super) async fn set(config: Option<&Path>, email: &str, roles: &[Role]) -> anyhow::Result<()> {
    let email = address(email)?;
    let password = read_password(&format!("password for {} (at least {SHORTEST} characters): ", &*email))?;
    ensure!(password.chars().count() >= SHORTEST, "a password has at least {SHORTEST} characters");
    let hash = admins::hash_password(password).await?;
    let tokens = with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        let tokens = admins::set(&mut tx, &email, &hash, roles).await?;
        tx.commit().await?;
        Ok(tokens)
    })
    .await?;
    println!("{} may log in", &*email);
    if tokens > 0 {
        println!("{tokens} API tokens of theirs still count: see `noderrctl tokens list`");
    }
    Ok(())
}

pub(super) async fn set_roles(config: Option<&Path>, email: &str, roles: &[Role]) -> anyhow::Result<()> {
    let email = address(email)?;
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        ensure!(admins::set_roles(&mut tx, &email, roles).await?, "there is no administrator {}", &*email);
        Ok(tx.commit().await?)
    })
    .await?;
    let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    println!("{} is {} from now on", &*email, names.join(", "));
    Ok(())
}

pub(super) async fn remove(config: Option<&Path>, email: &str) -> anyhow::Result<()> {
    let email = address(email)?;
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        ensure!(admins::remove(&mut tx, &email).await?, "there is no administrator {}", &*email);
        Ok(tx.commit().await?)
    })
    .await?;
    println!("{} may no longer log in; their sessions have ended and their tokens are gone", &*email);
    Ok(())
}

pub(super) async fn reset_second_factor(config: Option<&Path>, email: &str) -> anyhow::Result<()> {
    let email = address(email)?;
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        ensure!(
            second_factor::reset(&mut tx, &email).await?,
            "there is no administrator {} with a second factor",
            &*email
        );
        Ok(tx.commit().await?)
    })
    .await?;
    println!(
        "{} logs in without a second factor until a new one is set up; their sessions have ended",
        &*email
    );
    Ok(())
}

pub(super) async fn list(config: Option<&Path>) -> anyhow::Result<()> {
    let all = with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        Ok(admins::list(&mut tx).await?)
    })
    .await?;
    for (email, roles) in all {
        println!("{email}  {}", roles.join(", "));
    }
    Ok(())
}

fn address(email: &str) -> anyhow::Result<Email> {
    Email::parse(email).map_err(|why| anyhow!("`{email}` {why}"))
}

/// Reads a password: from the terminal without an echo, or a line from a pipe.
fn read_password(prompt: &str) -> std::io::Result<String> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt);
    }
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
