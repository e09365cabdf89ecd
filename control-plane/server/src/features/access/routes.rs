//! Logging in and out; API tokens.

use super::db::{self, TokenRow};
use super::{hash_secret, new_secret, password, second_factor};
use crate::app::App;
use crate::features::audit;
use crate::http::{Asked, Caller, Json, PageQuery, Paged, Path, Permission, Principal, Problem, ProblemBody};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

const SESSION: Duration = Duration::hours(12);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(log_in))
        .routes(routes!(log_out))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .merge(second_factor::routes())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The authenticator's code, where the account has a second factor.
    code: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LoggedIn {
    /// Send as `Authorization: Bearer …`.
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// Log in as an administrator.
#[utoipa::path(post, path = "/sessions", tag = "access", request_body = Login,
    responses((status = 201, body = LoggedIn), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn log_in(
    State(app): State<App>,
    Extension(Caller(address)): Extension<Caller>,
    Json(login): Json<Login>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    let email = login.email.trim().to_lowercase();
    let admin = password::check(&app, address, &email, &login.password).await?;
    let mut tx = app.database.begin().await?;
    if let Some(refusal) =
        second_factor::weigh(&mut tx, admin.id, &email, login.code.as_deref()).await?.refusal()
    {
        tx.commit().await?;
        return Err(refusal);
    }
    let (token, expires_at) = (new_secret("nse"), OffsetDateTime::now_utc() + SESSION);
    if !db::insert_session(&mut tx, &hash_secret(&token), &admin, expires_at).await? {
        return Err(password::wrong());
    }
    app.logins.succeeded(address, &email);
    audit::record(&mut tx, &email, "session.begin", &email, &json!({})).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(LoggedIn { token, expires_at })))
}

/// Log out: forget the session this request was made with.
#[utoipa::path(delete, path = "/sessions/current", tag = "access", security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn log_out(State(app): State<App>, who: Principal) -> Result<StatusCode, Problem> {
    db::delete_session(&app, &who.session()?.hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for; shown in lists and in the audit log.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    permissions: Vec<Permission>,
    /// Bind it to one operator: it sees that operator's rows and no others, and may only read.
    operator: Option<Uuid>,
    /// Days it is good for, but no longer than the token it is issued with; for ever if absent.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u16>,
}

/// An API token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    id: Uuid,
    name: String,
    permissions: Vec<String>,
    operator: Option<Uuid>,
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedToken {
    #[serde(flatten)]
    token: Token,
    /// The secret. It is shown this once.
    secret: String,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            permissions: row.permissions,
            operator: row.operator_id,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// List API tokens, newest first.
#[utoipa::path(get, path = "/tokens", tag = "access", params(PageQuery), security(("bearer" = [])),
    responses((status = 200, body = Paged<Token>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list_tokens(
    State(app): State<App>,
    who: Principal,
    Asked { page, .. }: Asked<Uuid>,
) -> Result<Json<Paged<Token>>, Problem> {
    who.require(Permission::ManageTokens)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let rows = db::list_tokens(&mut tx, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |token: &Token| token.id)))
}

/// Issue an API token.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = NewToken, security(("bearer" = [])),
    responses((status = 201, body = CreatedToken), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn create_token(
    State(app): State<App>,
    who: Principal,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    who.require(Permission::ManageTokens)?;
    if new.name.trim().is_empty() || new.name.len() > 100 {
        return Err(Problem::bad_request("name", "a token needs a name of 1 to 100 bytes"));
    }
    if let Some(beyond) = new.permissions.iter().find(|permission| !who.permissions.contains(permission)) {
        let detail = format!("you do not have `{}` yourself", beyond.as_str());
        return Err(Problem::forbidden("permission", detail));
    }
    let beyond = new.permissions.iter().find(|wanted| !Permission::OF_OPERATORS.contains(wanted));
    if let (Some(_), Some(beyond)) = (new.operator, beyond) {
        let detail = format!("a token bound to an operator may only read, not `{}`", beyond.as_str());
        return Err(Problem::bad_request("permission", detail));
    }
    if new.expires_in_days == Some(0) {
        return Err(Problem::bad_request("expires-in-days", "a token is good for a day at least"));
    }
    let now = OffsetDateTime::now_utc();
    // To the microsecond, as the database has it.
    let now = now - Duration::nanoseconds(i64::from(now.nanosecond() % 1000));
    let wished = new.expires_in_days.map(|days| now + Duration::days(days.into()));
    let bound = who.token().and_then(|token| token.expires_at);
    let row = TokenRow {
        id: Uuid::now_v7(),
        name: new.name.trim().to_owned(),
        permissions: new.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
        operator_id: new.operator,
        created_by: who.actor.clone(),
        parent: who.token().map(|token| token.id),
        created_at: now,
        // A token that ends issues none that outlives it.
        expires_at: [wished, bound].into_iter().flatten().min(),
        revoked_at: None,
    };
    let secret = new_secret("nap");
    let mut tx = app.database.scoped(who.scope).await?;
    if let Some(parent) = row.parent
        && !db::hold_token(&mut tx, parent).await?
    {
        return Err(Problem::unauthorised("the token this is asked with was revoked just now"));
    }
    db::insert_token(&mut tx, &row, &hash_secret(&secret)).await.map_err(|error| {
        match error.as_database_error() {
            Some(inner) if inner.is_foreign_key_violation() => Problem::not_found("operator"),
            _ => error.into(),
        }
    })?;
    let detail = json!({ "name": row.name, "permissions": row.permissions, "operator": row.operator_id });
    audit::record(&mut tx, &who.actor, "token.issue", &row.id.to_string(), &detail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: row.into(), secret })))
}

/// Revoke an API token, and those that were issued with it; they stop working at once.
#[utoipa::path(post, path = "/tokens/{id}/revoke", tag = "access", params(("id" = Uuid, Path)), security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn revoke_token(
    State(app): State<App>,
    who: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    who.require(Permission::ManageTokens)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let token = db::find_token(&mut tx, id).await?.ok_or_else(|| Problem::not_found("token"))?;
    let held = |name: &String| who.permissions.iter().any(|permission| permission.as_str() == name);
    if !token.permissions.iter().all(held) {
        return Err(Problem::forbidden(
            "permission",
            "this token may do what you may not; it is not yours to revoke",
        ));
    }
    db::revoke_token(&mut tx, id).await?;
    audit::record(&mut tx, &who.actor, "token.revoke", &id.to_string(), &json!({ "name": token.name }))
        .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
