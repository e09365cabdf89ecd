//! Checking a code, setting a second factor up, removing it.

use super::code::{matching, pause, totp};
use super::db::{self, Factor};
use super::terms::CODE_REQUIRED;
use super::terms::{CODE_WRONG, HAS_FACTOR};
use crate::admins;
use noderr_kernel::problems::{NOT_FOUND, THROTTLED};
use noderr_kernel::{Database, Email, Problem, Session, record};
use rand::RngCore as _;
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use totp_rs::TOTP;
use uuid::Uuid;

/// Bytes of a secret: RFC 4226 recommends 160 bits.
const SECRET: usize = 20;

/// Checks the code of an administrator, if the account has a second factor, and notes the outcome: commit the
/// transaction whatever the outcome is. Returns the refusal, if the code is not good.
pub(crate) async fn check_code(
    connection: &mut PgConnection,
    admin: Uuid,
    code: Option<&str>,
) -> sqlx::Result<Option<Problem>> {
    match (db::find(connection, admin).await?.filter(|factor| factor.confirmed), code) {
        (None, _) => Ok(None),
        (Some(_), None) => Ok(Some(CODE_REQUIRED.into())),
        (Some(factor), Some(code)) => check_factor(connection, admin, &factor, code).await,
    }
}

async fn check_factor(
    connection: &mut PgConnection,
    admin: Uuid,
    factor: &Factor,
    code: &str,
) -> sqlx::Result<Option<Problem>> {
    let now = OffsetDateTime::now_utc();
    if let Some(wait) = pause(factor, now) {
        return Ok(Some(THROTTLED.after(wait, "too many wrong codes for this account")));
    }
    if let Some(step) = matching(factor, code, now)
        && db::used(connection, admin, step).await?
    {
        return Ok(None);
    }
    db::failed(connection, admin, now).await?;
    put_on_record(connection, admin, "second-factor.refused").await?;
    Ok(Some(CODE_WRONG.into()))
}

/// Makes a secret, which counts once a code has confirmed it.
pub(super) async fn begin(database: &Database, admin: Uuid, email: &str) -> Result<TOTP, Problem> {
    let mut secret = [0; SECRET];
    rand::rng().fill_bytes(&mut secret);
    let totp = totp(&secret, email.to_owned())
        .ok_or_else(|| anyhow::anyhow!("no authenticator takes this account"))?;
    let mut tx = database.begin().await?;
    if !db::begin(&mut tx, admin, &secret).await? {
        return Err(HAS_FACTOR.into());
    }
    put_on_record(&mut tx, admin, "second-factor.begin").await?;
    tx.commit().await?;
    Ok(totp)
}

/// Confirms the secret with a first code; the administrator's other sessions end.
pub(super) async fn confirm(
    database: &Database,
    admin: Uuid,
    session: &Session,
    code: &str,
) -> Result<(), Problem> {
    let mut tx = database.begin().await?;
    let factor = db::find(&mut tx, admin).await?.filter(|factor| !factor.confirmed).ok_or_else(|| {
        NOT_FOUND.because("no second factor of this account waits for its first code; begin again")
    })?;
    let refusal = check_factor(&mut tx, admin, &factor, code).await?;
    if refusal.is_none() {
        db::end_other_sessions(&mut tx, admin, &session.hash).await?;
        put_on_record(&mut tx, admin, "second-factor.on").await?;
    }
    tx.commit().await?;
    refusal.map_or(Ok(()), Err)
}

/// Removes the second factor of an administrator whose password was checked.
pub(super) async fn remove(database: &Database, admin: Uuid, code: &str) -> Result<(), Problem> {
    let mut tx = database.begin().await?;
    let mut refusal = check_code(&mut tx, admin, Some(code)).await?;
    if refusal.is_none() {
        if db::remove(&mut tx, admin).await? {
            put_on_record(&mut tx, admin, "second-factor.off").await?;
        } else {
            refusal = Some(NOT_FOUND.because("this account has no second factor"));
        }
    }
    tx.commit().await?;
    refusal.map_or(Ok(()), Err)
}

/// Removes the second factor of an administrator who has lost it, and ends the administrator's sessions;
/// `false` if there is no such factor. For the command line; the caller commits.
pub async fn reset(connection: &mut PgConnection, email: &Email) -> sqlx::Result<bool> {
    let Some(admin) = db::remove_of(connection, email).await? else { return Ok(false) };
    db::end_other_sessions(connection, admin, &[]).await?;
    let subject = admin.to_string();
    record(connection, admins::COMMAND_LINE, "second-factor.reset", &subject, &json!({})).await?;
    Ok(true)
}

async fn put_on_record(connection: &mut PgConnection, admin: Uuid, action: &str) -> sqlx::Result<()> {
    record(connection, &format!("admin {admin}"), action, &admin.to_string(), &json!({})).await
}
