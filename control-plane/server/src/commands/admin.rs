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
    let tokens = with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        let tokens = admins::set(&mut tx, &email, &hash, roles).await?;
        keep_an_owner(&mut tx).await?;
        tx.commit().await?;
        Ok(tokens)
    })
    .await?;
    let mut said = format!("{} may log in\n", &*email);
    if tokens > 0 {
        said += &format!("{tokens} API tokens of theirs still count: see `noderrctl tokens list`\n");
    }
    Ok(said)
}

pub(super) async fn set_roles(config: Option<&Path>, email: &str, roles: &[Role]) -> anyhow::Result<String> {
    let email = address(email)?;
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        ensure!(admins::set_roles(&mut tx, &email, roles).await?, "there is no administrator {}", &*email);
        keep_an_owner(&mut tx).await?;
        Ok(tx.commit().await?)
    })
    .await?;
    let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    Ok(format!("{} is {} from now on\n", &*email, names.join(", ")))
}

pub(super) async fn remove(config: Option<&Path>, email: &str) -> anyhow::Result<String> {
    let email = address(email)?;
    with_database(config, async |_, database| {
        let mut tx = database.begin().await?;
        ensure!(admins::remove(&mut tx, &email).await?, "there is no administrator {}", &*email);
        keep_an_owner(&mut tx).await?;
        Ok(tx.commit().await?)
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

/// Without an owner nobody could do everything any more.
async fn keep_an_owner(connection: &mut PgConnection) -> anyhow::Result<()> {
    let all = admins::list(connection).await?;
    let is_owner = |roles: &[String]| roles.iter().any(|role| role == Role::Owner.as_str());
    ensure!(
        all.iter().any(|(_, roles)| is_owner(roles)),
        "this is the last owner: make another one first, with `admin set --role owner EMAIL`"
    );
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
