//! A control plane inside the test: the whole API over a database of its own, without sockets, in milliseconds.

use crate::shared_postgres::{empty_database, fresh_database};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use noderr_control::{MIGRATIONS, Plane, features};
use noderr_fleet::{FleetSettings, open_authority, reports};
use noderr_kernel::{Caller, Configuration, Database, hash_secret, new_secret};
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgPool};
use std::str::FromStr as _;
use std::sync::Arc;
use tower::ServiceExt as _;
use uuid::Uuid;

/// An instance with its database.
pub struct TestPlane {
    /// The instance.
    pub plane: Plane,
    /// The database, with all rights.
    pub owner: PgPool,
    /// The database's URL, for another process.
    pub url: String,
    /// The administrator's id.
    pub admin_id: Uuid,
    admin: String,
    _folder: tempfile::TempDir,
}

impl TestPlane {
    /// Opens an instance, with an administrator who has a session.
    pub async fn open() -> anyhow::Result<Self> {
        Self::over(fresh_database().await?).await
    }

    /// Opens one over a database that was left at migration `version` with these rows in it, and upgrades the database as
    /// `serve` does at its start.
    pub async fn upgraded(version: i64, rows: &str) -> anyhow::Result<Self> {
        let url = empty_database().await?;
        let mut connection = PgConnectOptions::from_str(&url)?.connect().await?;
        let migrations =
            MIGRATIONS.iter().filter(|migration| migration.version <= version).cloned().collect();
        Migrator { migrations, ..Migrator::DEFAULT }.run(&mut connection).await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(rows.to_owned()))).await?;
        connection.close().await?;
        Self::over(url).await
    }

    async fn over(url: String) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let text = format!(
            "data = \"{}\"\n[database]\nurl = \"{url}\"\nconnections = 4\n[telemetry]\nretention_days = 36500\n",
            folder.path().display()
        );
        let configuration = Configuration::parse(&text, std::iter::empty(), &features::sections())?;
        let database =
            Database::migrate(configuration.base(), &configuration.section()?, &MIGRATIONS).await?;
        let settings = FleetSettings::read(&configuration)?;
        reports::prepare(&database, &settings.telemetry).await?;
        let authority = open_authority(&settings, &database).await?;
        let plane = Plane::open(&configuration, database, Arc::new(authority)).await?;
        let owner = PgPool::connect(&url).await?;
        let admin_id = add_admin(&owner, "admin@test.invalid", "owner").await?;
        let admin = add_session(&owner, admin_id).await?;
        Ok(Self { plane, owner, url, admin_id, admin, _folder: folder })
    }

    /// A client on behalf of the administrator, who is an owner.
    pub fn admin(&self) -> Client {
        self.client(Some(self.admin.clone()))
    }

    /// A client on behalf of nobody.
    pub fn nobody(&self) -> Client {
        self.client(None)
    }

    /// A client on behalf of another administrator, with this role.
    pub async fn with_role(&self, role: &str) -> anyhow::Result<Client> {
        let id = add_admin(&self.owner, &format!("{role}@test.invalid"), role).await?;
        Ok(self.client(Some(add_session(&self.owner, id).await?)))
    }

    /// Adds and approves an operator; returns the id.
    pub async fn operator(&self, email: &str) -> anyhow::Result<String> {
        let admin = self.admin();
        let made =
            admin.post("/operators", &json!({ "name": "Operator", "email": email })).await?.expect(201)?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        admin.post(&format!("/operators/{id}/approve"), &json!({})).await?.expect(200)?;
        Ok(id)
    }

    /// Adds a node of an operator; returns the id.
    pub async fn node(&self, operator: &str, label: &str) -> anyhow::Result<String> {
        let new = json!({ "operator": operator, "label": label });
        let node = self.admin().post("/nodes", &new).await?.expect(201)?;
        Ok(node["id"].as_str().context("no id")?.to_owned())
    }

    fn client(&self, secret: Option<String>) -> Client {
        Client { router: self.plane.router.clone(), secret, key: None }
    }
}

async fn add_admin(owner: &PgPool, email: &str, role: &str) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO admins (id, email, password_hash, roles) VALUES ($1, $2, 'none', ARRAY[$3])")
        .bind(id)
        .bind(email)
        .bind(role)
        .execute(owner)
        .await?;
    Ok(id)
}

async fn add_session(owner: &PgPool, admin: Uuid) -> anyhow::Result<String> {
    let secret = new_secret("nse_");
    sqlx::query(
        "INSERT INTO sessions (hash, admin_id, expires_at) VALUES ($1, $2, now() + interval '1 hour')",
    )
    .bind(hash_secret(&secret))
    .bind(admin)
    .execute(owner)
    .await?;
    Ok(secret)
}

/// Calls the API on behalf of a principal, or of nobody.
#[derive(Clone)]
pub struct Client {
    router: Router,
    secret: Option<String>,
    key: Option<String>,
}

/// An answer of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null if there is none.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is the expected one.
    pub fn expect(self, status: u16) -> anyhow::Result<Value> {
        anyhow::ensure!(self.status.as_u16() == status, "{}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// The name of the problem; empty if there is none.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default().trim_start_matches("/problems/")
    }
}

impl Client {
    /// A client on behalf of another secret.
    #[must_use]
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: Some(secret.to_owned()), ..self.clone() }
    }

    /// A client that sends an idempotency key.
    #[must_use]
    pub fn once(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// GETs a path under `/api/v1`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, None).await
    }

    /// POSTs to a path under `/api/v1`.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// PATCHes a path under `/api/v1`.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// DELETEs a path under `/api/v1`.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(secret) = &self.secret {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        let mut request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))?
            }
            None => request.body(Body::empty())?,
        };
        request.extensions_mut().insert(Caller([127, 0, 0, 1].into()));
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }
}
