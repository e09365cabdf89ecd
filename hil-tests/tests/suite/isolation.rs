//! Row-level security: for every table that holds an operator's data, the API's own role tries to read a stranger's
//! rows, and to write them.

use crate::{LIVELY, lab};
use noderr_hil::{LabOptions, account};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _, Postgres, Transaction};
use std::str::FromStr as _;

/// A transaction of the API's role, as a request of that scope would have it.
async fn scoped(api: &PgPool, scope: &str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = api.begin().await?;
    sqlx::query("SELECT set_config('noderr.scope', $1, true)").bind(scope).execute(&mut *tx).await?;
    Ok(tx)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_table_shows_an_operator_a_strangers_rows() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, _rig) = lab.online_box("mine", &LIVELY).await?;
    account::settled(&lab.database, &node, 5).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.admin.post("/tokens", &json!({ "name": "staff's", "permissions": ["read-nodes"] })).await?;
    let stranger =
        lab.admin.post("/operators", &json!({ "name": "Stranger", "email": "s@demo.invalid" })).await?;

    let owner = PgConnectOptions::from_str(&lab.control.owner_url()?)?;
    let owner = PgPoolOptions::new().max_connections(1).connect_with(owner).await?;
    let id = hex::decode(&node)?;
    for fill in [
        "INSERT INTO gaps VALUES ($1, 'result', 1, 1, 1, 'budget')",
        "INSERT INTO alerts VALUES ($1, 1, 999, now(), now(), 'x', 'x')",
        "INSERT INTO unreadable_records VALUES ($1, 'result', 1, 999, now(), '')",
    ] {
        sqlx::query(fill).bind(&id).execute(&owner).await?;
    }
    // What holds an operator's data has one of these columns; a table that is added later is found here.
    let with_nodes: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT c.table_name::text FROM information_schema.columns c JOIN pg_class p ON p.relname = c.table_name
         WHERE c.table_schema = 'public' AND c.column_name IN ('node_id', 'operator_id') AND NOT p.relispartition",
    )
    .fetch_all(&owner)
    .await?;
    assert!(with_nodes.len() >= 11, "{with_nodes:?}");

    let api =
        PgConnectOptions::from_str(&lab.control.reader_url()?.replace("noderr_reader@", "noderr_api@"))?;
    let api = PgPoolOptions::new().max_connections(1).connect_with(api).await?;
    let stranger = stranger["id"].as_str().unwrap_or_default();
    for table in with_nodes.iter().map(String::as_str).chain(["operators", "nodes"]) {
        for (scope, sees) in [(stranger, false), ("", false), ("staff", true), (lab.operator.as_str(), true)]
        {
            let mut tx = scoped(&api, scope).await?;
            let whose =
                if table == "operators" { format!("id = '{}'", lab.operator) } else { "true".to_owned() };
            let count: i64 =
                sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {whose}")))
                    .fetch_one(&mut *tx)
                    .await?;
            // API tokens are the staff's alone.
            let expected = sees && (table != "api_tokens" || scope == "staff");
            assert_eq!(count > 0, expected, "{table} shows {count} rows to scope `{scope}`");
        }
    }

    a_stranger_changes_nothing(&api, &with_nodes, stranger, &id).await?;
    secrets_are_the_control_planes_alone([&api, &lab.database]).await;
    for bypass in
        ["SET ROLE noderr_owner", "SET ROLE noderr_system", "ALTER TABLE nodes DISABLE ROW LEVEL SECURITY"]
    {
        assert!(api.execute(bypass).await.is_err(), "the API's role can: {bypass}");
    }
    Ok(())
}

async fn a_stranger_changes_nothing(
    api: &PgPool,
    tables: &[String],
    stranger: &str,
    others_node: &[u8],
) -> anyhow::Result<()> {
    // Nor may a stranger change any of it, or read what is no operator's.
    for table in tables.iter().map(String::as_str).chain(["operators", "nodes"]) {
        let column = if ["operators", "nodes", "api_tokens"].contains(&table) { "id" } else { "node_id" };
        for statement in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("INSERT INTO {table} SELECT * FROM {table}"),
        ] {
            let mut tx = scoped(api, stranger).await?;
            // Refused, or there is nothing that it finds; the stranger's own row among the operators is theirs.
            let own = u64::from(table == "operators");
            let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *tx).await;
            assert!(done.is_err() || done.is_ok_and(|done| done.rows_affected() <= own), "{statement}");
        }
    }
    let others = "INSERT INTO install_tokens (id, node_id, hash, created_by, expires_at)
                  VALUES (gen_random_uuid(), $1, 'x', 'stranger', now())";
    let mut tx = scoped(api, stranger).await?;
    assert!(
        sqlx::query(others).bind(others_node).execute(&mut *tx).await.is_err(),
        "a row for another's node is made"
    );
    tx.rollback().await?;
    for table in ["audit_log", "admins", "sessions", "job_runs"] {
        let mut tx = scoped(api, stranger).await?;
        let seen = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *tx)
            .await;
        assert!(!matches!(seen, Ok(1..)), "{table} is shown to an operator");
    }
    Ok(())
}

/// Neither the API's role nor one that may read everything else.
async fn secrets_are_the_control_planes_alone(roles: [&PgPool; 2]) {
    for (role, table) in roles.into_iter().flat_map(|role| [(role, "secrets"), (role, "second_factors")]) {
        let seen = sqlx::query(AssertSqlSafe(format!("SELECT FROM {table}"))).execute(role).await;
        let refused =
            seen.as_ref().err().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        assert_eq!(refused.as_deref(), Some("42501"), "{table}: {seen:?}");
    }
}
