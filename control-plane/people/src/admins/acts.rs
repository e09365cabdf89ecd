//! What the command line can do about administrators. Each act and its audit entry are one transaction, which
//! the caller commits.

use super::db;
use noderr_kernel::{Email, Role, record};
use serde_json::json;
use sqlx::PgConnection;

/// The actor that the audit log names for commands typed on the machine itself.
pub const COMMAND_LINE: &str = "command line";

/// Adds an administrator, or sets the password of one; changes the roles if any are given. A new password
/// ends the administrator's sessions. Returns how many of the administrator's tokens still count.
pub async fn set(
    connection: &mut PgConnection,
    email: &Email,
    password_hash: &str,
    roles: &[Role],
) -> sqlx::Result<i64> {
    let names: Vec<_> = roles.iter().map(|role| role.as_str().to_owned()).collect();
    let id = db::set(connection, email, password_hash, &names).await?;
    record(connection, COMMAND_LINE, "admin.set", &id.to_string(), &json!({ "roles": names })).await?;
    db::tokens(connection, id).await
}

/// Changes what an administrator may do from now on; `false` if there is no such administrator.
pub async fn set_roles(connection: &mut PgConnection, email: &Email, roles: &[Role]) -> sqlx::Result<bool> {
    let names: Vec<_> = roles.iter().map(|role| role.as_str().to_owned()).collect();
    let Some(id) = db::set_roles(connection, email, &names).await? else { return Ok(false) };
    record(connection, COMMAND_LINE, "admin.roles", &id.to_string(), &json!({ "roles": names })).await?;
    Ok(true)
}

/// Removes an administrator with all sessions and tokens; `false` if there is no such administrator.
pub async fn remove(connection: &mut PgConnection, email: &Email) -> sqlx::Result<bool> {
    let Some(id) = db::remove(connection, email).await? else { return Ok(false) };
    record(connection, COMMAND_LINE, "admin.remove", &id.to_string(), &json!({})).await?;
    Ok(true)
}

/// The addresses of all administrators, with the roles of each.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, Vec<String>)>> {
    db::list(connection).await
}

/// How many administrators may do everything; nobody else changes administrators until the transaction ends.
pub async fn owners(connection: &mut PgConnection) -> sqlx::Result<i64> {
    db::wait_for_others(connection).await?;
    db::owners(connection).await
}
