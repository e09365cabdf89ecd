//! PostgreSQL: two pools with different rights, migrations, and what a transaction may see.

mod private;

pub(crate) use private::PrivateCluster;

use crate::config::Config;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Executor as _, Postgres, Transaction};
use std::str::FromStr as _;
use std::time::Duration;
use uuid::Uuid;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");
const ACQUIRE: Duration = Duration::from_secs(10);

/// A transaction of either pool.
pub(crate) type Tx = Transaction<'static, Postgres>;

/// What a request may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Staff,
    /// What belongs to one operator.
    Operator(Uuid),
}

/// The database, as this instance holds it. Cheap to clone: all clones are one.
#[derive(Clone)]
pub(crate) struct Database {
    system: PgPool,
    api: PgPool,
    private: Option<PrivateCluster>,
}

impl Database {
    /// Connects, starting the private cluster if no database is configured.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let (owner, private) = match &config.database.url {
            Some(url) => {
                let options = PgConnectOptions::from_str(url.expose_secret())
                    .context("database.url is not a PostgreSQL URL")?;
                (options, None)
            }
            None => {
                let cluster = PrivateCluster::start(config).await?;
                (cluster.options("noderr_owner"), Some(cluster))
            }
        };
        if let Err(error) = migrate(&owner).await {
            if let Some(cluster) = &private {
                cluster.stop().await;
            }
            return Err(error);
        }
        let size = config.database.connections;
        let (system, api) = match (&private, &config.database.api_url) {
            (Some(cluster), _) => {
                (pool(cluster.options("noderr_system"), size), pool(cluster.options("noderr_api"), size))
            }
            (None, Some(url)) => {
                let api = PgConnectOptions::from_str(url.expose_secret())
                    .context("database.api_url is not a PostgreSQL URL")?;
                (pool_as(owner, "noderr_system", size), pool(api, size))
            }
            (None, None) => {
                tracing::warn!(
                    "requests run on the owner's connection in another role; database.api_url gives them one of their own"
                );
                (pool_as(owner.clone(), "noderr_system", size), pool_as(owner, "noderr_api", size))
            }
        };
        Ok(Self { system, api, private })
    }

    /// For ingest, enrolment, logins and jobs.
    pub(crate) const fn system(&self) -> &PgPool {
        &self.system
    }

    /// A transaction of the control plane itself.
    pub(crate) async fn begin(&self) -> sqlx::Result<Tx> {
        self.system.begin().await
    }

    /// A transaction on somebody's behalf: sees only what `scope` allows.
    pub(crate) async fn scoped(&self, scope: Scope) -> sqlx::Result<Tx> {
        let mut tx = self.api.begin().await?;
        let scope = match scope {
            Scope::Staff => "staff".to_owned(),
            Scope::Operator(id) => id.to_string(),
        };
        sqlx::query_scalar!("SELECT set_config('noderr.scope', $1, true)", scope).fetch_one(&mut *tx).await?;
        Ok(tx)
    }

    /// The private cluster, if there is one.
    pub(crate) const fn private(&self) -> Option<&PrivateCluster> {
        self.private.as_ref()
    }

    /// Closes the pools. The private cluster goes on: another instance, or the next start, will use it.
    pub(crate) async fn close(&self) {
        // A connection that is still at work is not waited for long: what it does is undone.
        let closed =
            tokio::time::timeout(ACQUIRE, async { tokio::join!(self.api.close(), self.system.close()) });
        if closed.await.is_err() {
            tracing::warn!("connections to the database did not close in time");
        }
        if let Some(cluster) = &self.private {
            cluster.stop().await;
        }
    }
}

async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE).connect_with(owner.clone()).await;
    let pool = pool.context("cannot connect to PostgreSQL")?;
    // Takes an advisory lock: instances that start together migrate one after another.
    MIGRATIONS.run(&pool).await.context("cannot bring the database up to this version")?;
    pool.close().await;
    Ok(())
}

fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE).connect_lazy_with(options)
}

/// A pool whose connections give the owner's rights up for those of `role`.
fn pool_as(options: PgConnectOptions, role: &'static str, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(sqlx::AssertSqlSafe(format!("SET ROLE {role}"))).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options)
}
