//! Issuing and revoking API tokens.

use super::db::{self, TokenRow};
use super::terms::{MANAGE_TOKENS, READS_ONLY, UNKNOWN_PERMISSION};
use noderr_kernel::problems::{PERMISSION, UNAUTHORISED};
use noderr_kernel::{Act, Line, Permissions, Principal, Problem, Subject, hash_secret, new_secret};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Days a token is good for by default.
const DAYS: u16 = 90;

/// The properties of a new token.
pub(super) struct NewToken {
    pub(super) name: Line<100>,
    pub(super) permissions: Vec<String>,
    pub(super) operator: Option<Uuid>,
    pub(super) expires_in_days: Option<u16>,
}

/// Issues a token; returns its row, and the secret, which is shown this once.
pub(super) async fn issue(
    act: &mut Act,
    known: &Permissions,
    new: NewToken,
) -> Result<(TokenRow, String), Problem> {
    act.require(&MANAGE_TOKENS)?;
    let now = OffsetDateTime::now_utc();
    act.require_fresh_proof()?;
    check_permissions(act.who(), known, &new)?;
    let row = row(act.who(), new, now);
    if let Some(parent) = row.parent
        && !db::hold(act, parent).await?
    {
        return Err(UNAUTHORISED.because("the token this is asked with was revoked just now"));
    }
    let secret = new_secret("nap_");
    db::insert(act, &row, &hash_secret(&secret)).await.map_err(|error| match error.as_database_error() {
        Some(inner) if inner.is_foreign_key_violation() => Problem::not_found("operator"),
        _ => error.into(),
    })?;
    let detail = json!({ "name": row.name, "permissions": row.permissions, "operator": row.operator_id });
    act.record("token.issue", row.id, &detail).await?;
    Ok((row, secret))
}

/// Refuses a permission that the issuer does not hold, or that a token for an operator may not hold.
fn check_permissions(who: &Principal, known: &Permissions, new: &NewToken) -> Result<(), Problem> {
    for name in &new.permissions {
        let permission = known.find(name).ok_or_else(|| {
            let all: Vec<_> = known.all().iter().map(|permission| permission.name).collect();
            let detail = format!("there is no permission `{name}`; there are: {}", all.join(", "));
            UNKNOWN_PERMISSION.because(detail)
        })?;
        if !who.permissions.contains(permission.name) {
            return Err(PERMISSION.because(format!("you do not have `{name}` yourself")));
        }
        if new.operator.is_some() && !permission.operators {
            return Err(
                READS_ONLY.because(format!("a token bound to an operator may only read, not `{name}`"))
            );
        }
    }
    Ok(())
}

fn row(who: &Principal, new: NewToken, now: OffsetDateTime) -> TokenRow {
    // Cut to the microsecond, which is the precision of the database.
    let now = now - Duration::nanoseconds(i64::from(now.nanosecond() % 1000));
    let wished = now + Duration::days(new.expires_in_days.unwrap_or(DAYS).into());
    let (owner_id, bound) = match &who.subject {
        Subject::Admin { id, .. } | Subject::Operator { id, .. } => (*id, wished),
        // A token that was issued with another token does not outlive the issuing token.
        Subject::Token(token) => (token.owner, token.expires_at),
    };
    TokenRow {
        id: Uuid::now_v7(),
        name: new.name.to_string(),
        permissions: new.permissions,
        operator_id: new.operator,
        owner_id,
        created_by: who.actor(),
        parent: who.token().map(|token| token.id),
        created_at: now,
        expires_at: wished.min(bound),
        revoked_at: None,
    }
}

/// Revokes a token, and all tokens that were issued with it.
pub(super) async fn revoke(act: &mut Act, known: &Permissions, id: Uuid) -> Result<(), Problem> {
    act.require(&MANAGE_TOKENS)?;
    let token = db::find(act, id).await?.ok_or_else(|| Problem::not_found("token"))?;
    // A name that no feature declares any more allows nothing, and must not keep the token from being revoked.
    let may = |name: &String| known.find(name).is_none() || act.who().permissions.contains(name.as_str());
    if !token.permissions.iter().all(may) {
        return Err(PERMISSION.because("this token may do what you may not; it is not yours to revoke"));
    }
    if let Some(own) = act.who().token().map(|token| token.id)
        && !db::is_of(act, id, own).await?
    {
        return Err(PERMISSION.because("a token revokes itself and those that it has issued"));
    }
    db::revoke(act, id).await?;
    act.record("token.revoke", id, &json!({ "name": token.name })).await?;
    Ok(())
}
