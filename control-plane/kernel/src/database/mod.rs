//! PostgreSQL: pools with different rights and for different people, migrations, and what a transaction may see.

mod private;
mod settings;
mod turns;

pub use settings::DatabaseSettings;

use crate::principal::{Principal, Scope};
use crate::settings::BaseSettings;
use anyhow::{Context as _, ensure};
use private::PrivateCluster;
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Postgres, Row as _, Transaction,
};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use turns::Turn;
use turns::Turns;

const ACQUIRE: Duration = Duration::from_secs(10);
/// How long a statement may take, wait for a lock, and how long a transaction may idle. A request is given up
/// after 30 seconds; its statements must not go on for much longer.
/// The path of names is the connection's own too: a role may change what is set for the role itself.
const EACH_CONNECTION: [(&str, &str); 4] = [
    ("statement_timeout", "25s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("search_path", "public"),
];

/// A transaction of either pool.
pub type Tx = Transaction<'static, Postgres>;

/// The database, as this instance holds it. Cheap to clone; all clones share the same pools.
#[derive(Clone)]
pub struct Database {
    system: PgPool,
    strangers: PgPool,
    credentials: PgPool,
    api: PgPool,
    turns: Arc<Turns>,
    private: Option<PrivateCluster>,
}

impl Database {
    /// Connects, starting the private cluster if no database is configured, and brings the database up to
    /// this version. Only `serve` and `migrate` do so.
    pub async fn migrate(
        base: &BaseSettings,
        settings: &DatabaseSettings,
        to: &Migrator,
    ) -> anyhow::Result<Self> {
        let (owner, private) = connect(base, settings).await?;
        let migrated = migrate(&owner, to).await;
        Self::finish(owner, private, settings, migrated).await
    }

    /// Connects to a database that must be of this version.
    pub async fn open(
        base: &BaseSettings,
        settings: &DatabaseSettings,
        of: &Migrator,
    ) -> anyhow::Result<Self> {
        let (owner, private) = connect(base, settings).await?;
        let checked = check_version(&owner, of).await;
        Self::finish(owner, private, settings, checked).await
    }

    async fn finish(
        owner: PgConnectOptions,
        private: Option<PrivateCluster>,
        settings: &DatabaseSettings,
        ready: anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        if let Err(error) = ready {
            if let Some(cluster) = &private {
                cluster.stop().await;
            }
            return Err(error);
        }
        let owner = owner.options(EACH_CONNECTION);
        let (size, few) = (settings.connections, (settings.connections / 2).max(2));
        let system = |size| match &private {
            Some(cluster) => pool(cluster.options("noderr_system").options(EACH_CONNECTION), size),
            None => pool_as(owner.clone(), "noderr_system", size),
        };
        let api = match (&private, &settings.api_url) {
            (Some(cluster), _) => pool(cluster.options("noderr_api").options(EACH_CONNECTION), size),
            (None, Some(url)) => {
                let api = PgConnectOptions::from_str(url.expose())
                    .context("database.api_url is not a PostgreSQL URL")?;
                check_api(&api, &owner).await?;
                pool(api.options(EACH_CONNECTION), size)
            }
            (None, None) => {
                tracing::warn!(
                    "requests run on the owner's connection in another role; database.api_url gives them one of their own"
                );
                pool_as(owner.clone(), "noderr_api", size)
            }
        };
        let turns = Arc::new(Turns::of(size));
        Ok(Self {
            system: system(size),
            strangers: system(few),
            credentials: system(few),
            api,
            turns,
            private,
        })
    }

    /// The pool of the control plane itself: for ingest, admission and jobs.
    pub const fn system(&self) -> &PgPool {
        &self.system
    }

    /// The pool for whoever has not shown yet who they are, to enrol or to log in: as many as they are, they keep neither
    /// ingest waiting nor those who are known.
    pub const fn strangers(&self) -> &PgPool {
        &self.strangers
    }

    /// The pool in which credentials are looked up.
    pub const fn credentials(&self) -> &PgPool {
        &self.credentials
    }

    /// Begins a transaction of the control plane itself.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        begin_whole(self.system.clone(), "BEGIN".to_owned()).await
    }

    /// Begins a transaction of the control plane itself, for whoever has not shown yet who they are.
    pub async fn begin_for_stranger(&self) -> sqlx::Result<Tx> {
        begin_whole(self.strangers.clone(), "BEGIN".to_owned()).await
    }

    /// Begins a transaction on behalf of a principal, with the rights of the principal's role and no others.
    /// Nobody has more than half of the connections: who wants more waits.
    pub(crate) async fn scoped(&self, who: &Principal) -> sqlx::Result<(Tx, Turn)> {
        let turn = self.turns.take(who.person()).await;
        // No part of the statement can be chosen by a requester: roles have fixed names, and ids are UUIDs.
        let (role, operator) = match who.scope {
            Scope::Staff => ("noderr_staff", String::new()),
            Scope::Operator(id) => ("noderr_operator", id.to_string()),
        };
        let begin = format!(
            "BEGIN; SET LOCAL ROLE {role}; SET LOCAL noderr.operator = '{operator}'; SET LOCAL noderr.principal = '{}'",
            who.actor()
        );
        Ok((begin_whole(self.api.clone(), begin).await?, turn))
    }

    /// A URL of the private cluster, for people and scripts, by which everything but secrets can be read.
    pub fn reader_url(&self) -> Option<String> {
        self.private.as_ref().map(PrivateCluster::reader_url)
    }

    /// Whether there is room for more on the disk of the private cluster. A database that runs out of disk fails in the middle of
    /// anything; so whoever stores much asks first.
    pub fn has_room(&self) -> bool {
        self.private.as_ref().is_none_or(PrivateCluster::has_room)
    }

    /// Starts the private cluster again whenever it is down, for ever; with another database there is nothing to do.
    pub async fn watch(&self) {
        match &self.private {
            Some(cluster) => cluster.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Closes the pools, and stops the private cluster unless other instances are connected to it.
    pub async fn close(&self) {
        // Connections that are still at work are not waited for long: their transactions are undone.
        let closed = tokio::time::timeout(ACQUIRE, async {
            let Self { system, strangers, credentials, api, .. } = self;
            tokio::join!(api.close(), strangers.close(), credentials.close(), system.close())
        });
        if closed.await.is_err() {
            tracing::warn!("connections to the database did not close in time");
        }
        if let Some(cluster) = &self.private {
            cluster.stop().await;
        }
    }
}

/// Begins a transaction, to the end, even if the caller is gone meanwhile. sqlx counts a transaction only
/// once the database has answered: if the call were dropped before that, the connection would go back to the
/// pool inside a transaction that nobody knows of, and the statements of its next user would be undone
/// together.
async fn begin_whole(pool: PgPool, statement: String) -> sqlx::Result<Tx> {
    let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(statement)).await });
    begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

/// The options for connections of the owner, and the private cluster if there is one.
async fn connect(
    base: &BaseSettings,
    settings: &DatabaseSettings,
) -> anyhow::Result<(PgConnectOptions, Option<PrivateCluster>)> {
    match &settings.url {
        Some(url) => {
            let owner =
                PgConnectOptions::from_str(url.expose()).context("database.url is not a PostgreSQL URL")?;
            Ok((owner, None))
        }
        None => {
            let cluster = PrivateCluster::start(&base.data, settings).await?;
            Ok((cluster.options("noderr_owner"), Some(cluster)))
        }
    }
}

/// Refuses an `api_url` by which requests would have other rights than those of their role, or see another database.
async fn check_api(api: &PgConnectOptions, owner: &PgConnectOptions) -> anyhow::Result<()> {
    let mut ours = owner.connect().await.context("cannot connect to PostgreSQL")?;
    let mut theirs = api.connect().await.context("cannot connect by database.api_url")?;
    let place = r#"SELECT current_database()::text AS "name!", system_identifier AS "cluster!" FROM pg_control_system()"#;
    let of = |row: &sqlx::postgres::PgRow| (row.get::<String, _>("name!"), row.get::<i64, _>("cluster!"));
    let (ours_at, theirs_at) = (
        of(&sqlx::query(place).fetch_one(&mut ours).await?),
        sqlx::query(place).fetch_one(&mut theirs).await.map(|row| of(&row)).ok(),
    );
    ensure!(
        theirs_at.is_none_or(|theirs| theirs == ours_at),
        "database.api_url is of another database than database.url"
    );
    let role = sqlx::query(
        "SELECT current_user::text AS name, rolsuper OR rolbypassrls OR rolcreaterole AS mighty,
           EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relnamespace = 'public'::regnamespace) AS owns,
           pg_has_role(current_user, 'noderr_system', 'MEMBER') AS system
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut theirs)
    .await?;
    let name: String = role.get("name");
    for (wrong, why) in [
        (name != "noderr_api", "requests run as the role noderr_api"),
        (role.get("mighty"), "it is a superuser, or may pass by row-level security"),
        (role.get("owns"), "it owns tables"),
        (role.get("system"), "it has the rights of the control plane itself"),
    ] {
        ensure!(
            !wrong,
            "database.api_url connects as the role `{name}`, and {why}; give noderr_api a password (ALTER ROLE noderr_api \
             PASSWORD ...) and name it in the URL"
        );
    }
    theirs.close().await?;
    Ok(ours.close().await?)
}

async fn migrate(owner: &PgConnectOptions, to: &Migrator) -> anyhow::Result<()> {
    let mut connection = tokio::time::timeout(ACQUIRE, owner.connect())
        .await
        .context("cannot connect to PostgreSQL in time")?
        .context("cannot connect to PostgreSQL")?;
    // Takes an advisory lock: instances that start together migrate one after another.
    let migrated = to.run(&mut connection).await;
    migrated.context("cannot bring the database up to this version")?;
    // Whatever somebody with SQL as this role has set for it.
    let reset = "DO $$ BEGIN
        ALTER ROLE noderr_api RESET ALL;
        EXECUTE format('ALTER ROLE noderr_api IN DATABASE %I RESET ALL', current_database());
    END $$";
    // An owner who may no longer change roles serves all the same.
    if let Err(error) = connection.execute(reset).await {
        tracing::warn!(%error, "what is set for the role noderr_api cannot be reset");
    }
    connection.close().await?;
    Ok(())
}

/// Refuses a database that is empty, or of another version.
async fn check_version(owner: &PgConnectOptions, of: &Migrator) -> anyhow::Result<()> {
    let mut connection = owner.connect().await.context("cannot connect to PostgreSQL")?;
    let advice =
        "bring it up to this version with `noderr-control migrate`, or by starting `noderr-control serve`";
    let made = sqlx::query_scalar!(r#"SELECT to_regclass('public._sqlx_migrations') IS NOT NULL AS "made!""#)
        .fetch_one(&mut connection)
        .await?;
    ensure!(made, "the database is empty; {advice}");
    let applied = connection.list_applied_migrations("_sqlx_migrations").await?;
    let newest = |versions: &mut dyn Iterator<Item = i64>| versions.max().unwrap_or_default();
    let theirs = newest(&mut applied.iter().map(|migration| migration.version));
    let ours = newest(&mut of.iter().map(|migration| migration.version));
    ensure!(theirs >= ours, "the database is at migration {theirs}, this version needs {ours}; {advice}");
    ensure!(
        theirs <= ours,
        "the database is at migration {theirs}, which a newer version has made; this one knows {ours}: use the newer one"
    );
    connection.close().await?;
    Ok(())
}

/// Whether a statement was given up because it would have waited too long for a lock.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
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
