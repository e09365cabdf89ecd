//! `noderr-control admin …`.

use super::with_database;
use anyhow::{anyhow, ensure};
use noderr_kernel::{Email, Role};
use noderr_people::{admins, second_factor};
use sqlx::PgConnection;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

const SHORTEST: usize = 12;

pub(super) async fn set(config: Option<&Path>, email: &str, roles: &[Role]) -> anyhow::Result<String> {
    let email = address(email)?;
    let password = read_password(&format!("password for {} (at least {SHORTEST} characters): ", &*email))?;
    ensure!(password.chars().count() >= SHORTEST, "a password has at least {SHORTEST} characters");
    let hash = admins::hash_password(password).await?;
    let tokens = change(config, async |tx| Ok(admins::set(tx, &email, &hash, roles).await?)).await?;
    let mut said = format!("{} may log in\n", &*email);
    if tokens > 0 {
        said += &format!("{tokens} API tokens of theirs still count: see `noderrctl tokens list`\n");
    }
    Ok(said)
}

pub(super) async fn set_roles(config: Option<&Path>, email: &str, roles: &[Role]) -> anyhow::Result<String> {
    let email = address(email)?;
    change(config, async |tx| {
        ensure!(admins::set_roles(tx, &email, roles).await?, "there is no administrator {}", &*email);
        Ok(())
    })
    .await?;
    let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    Ok(format!("{} is {} from now on\n", &*email, names.join(", ")))
}

pub(super) async fn remove(config: Option<&Path>, email: &str) -> anyhow::Result<String> {
    let email = address(email)?;
    change(config, async |tx| {
        ensure!(admins::remove(tx, &email).await?, "there is no administrator {}", &*email);
        Ok(())
    })
    .await?;
    Ok(format!("{} may no longer log in; their sessions have ended and their tokens are gone\n", &*email))
}

pub(super) async fn reset_second_factor(config: Option<&Path>, email: &str) -> anyhow::Result<String> {
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
    Ok(format!(
        "{} logs in without a second factor until a new one is set up; their sessions have ended\n",
        &*email
    ))
}

pub(super) async fn list(config: Option<&Path>) -> anyhow::Result<String> {
    let all = with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        Ok(admins::list(&mut tx).await?)
    })
    .await?;
    if all.is_empty() {
        return Ok("there is no administrator; `admin set EMAIL` makes one\n".to_owned());
    }
    Ok(all.into_iter().map(|(email, roles)| format!("{email}  {}\n", roles.join(", "))).collect())
}

/// Runs an act about administrators in a transaction, and undoes the act if it takes the last owner away.
async fn change<T>(
    config: Option<&Path>,
    act: impl AsyncFnOnce(&mut PgConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        let before = admins::owners(&mut tx).await?;
        let done = act(&mut tx).await?;
        ensure!(
            before == 0 || admins::owners(&mut tx).await? > 0,
            "this is the last owner: make another one first, with `admin set --role owner EMAIL`"
        );
        tx.commit().await?;
        Ok(done)
    })
    .await
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
