//! Beginning a session, and giving a fresh proof.

use super::db;
use crate::People;
use crate::admins::{Admin, PASSWORD_WRONG, check_password, forgive, take_back};
use crate::second_factor::check_code;
use noderr_kernel::{Principal, Problem, Session, Tx, hash_secret, new_secret, record};
use secrecy::SecretString;
use serde_json::json;
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};

const LIFE: Duration = Duration::hours(12);

/// What a person gives to log in, or as a fresh proof.
pub(super) struct Person<'a> {
    pub(super) address: IpAddr,
    pub(super) email: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) code: Option<&'a str>,
}

/// Begins a session; returns its secret, and when the session ends.
pub(super) async fn log_in(
    people: &People,
    person: &Person<'_>,
) -> Result<(String, OffsetDateTime), Problem> {
    let (mut tx, admin) = check(people, person).await?;
    let (secret, expires_at) = (new_secret("nse_"), OffsetDateTime::now_utc() + LIFE);
    if !db::insert(&mut tx, &hash_secret(&secret), &admin, expires_at).await? {
        return Err(PASSWORD_WRONG.into());
    }
    put_on_record(&mut tx, &admin, "session.begin").await?;
    tx.commit().await?;
    forgive(people, person.address, person.email);
    Ok((secret, expires_at))
}

/// Ends the session that is asked with.
pub(super) async fn log_out(people: &People, who: &Principal) -> Result<(), Problem> {
    let session = who.session()?;
    let mut tx = people.kernel.database.begin().await?;
    db::delete(&mut tx, &session.hash).await?;
    record(&mut tx, &who.actor(), "session.end", &who.id().to_string(), &json!({})).await?;
    Ok(tx.commit().await?)
}

/// Checks a fresh proof, and notes it at the session.
pub(super) async fn prove(people: &People, session: &Session, person: &Person<'_>) -> Result<(), Problem> {
    let (mut tx, admin) = check(people, person).await?;
    if !db::prove(&mut tx, &session.hash, &admin).await? {
        return Err(PASSWORD_WRONG.into());
    }
    put_on_record(&mut tx, &admin, "session.prove").await?;
    tx.commit().await?;
    forgive(people, person.address, person.email);
    Ok(())
}

/// Checks password and code; returns the transaction in which the code is used up, and the administrator.
async fn check(people: &People, person: &Person<'_>) -> Result<(Tx, Admin), Problem> {
    let admin = check_password(people, person.address, person.email, person.password).await?;
    let mut tx = people.kernel.database.begin_for_stranger().await?;
    match check_code(&mut tx, admin.id, person.code).await? {
        None => Ok((tx, admin)),
        Some(refusal) => {
            if person.code.is_none() {
                take_back(people, person.address, person.email);
            }
            tx.commit().await?;
            Err(refusal)
        }
    }
}

async fn put_on_record(tx: &mut Tx, admin: &Admin, action: &str) -> sqlx::Result<()> {
    record(tx, &format!("admin {}", admin.id), action, &admin.id.to_string(), &json!({})).await
}
