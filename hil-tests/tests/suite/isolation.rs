//! What each role of the database may see and change, table by table. A new table must be added here.

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::{Lab, LabOptions, account, until};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _, Postgres, Transaction};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

/// Every table, with what administrators may do, what operators may do, and whether the reader sees the
/// table. S, I, U and D stand for the commands; a small letter for a command on some columns only.
const TABLES: &[(&str, &str, &str, bool)] = &[
    ("_sqlx_migrations", "", "", false),
    ("admins", "s", "", false),
    ("alerts", "S", "S", true),
    ("api_tokens", "SIu", "", true),
    ("artefacts", "SIu", "", true),
    ("attestations", "SIu", "S", true),
    ("audit_end", "", "", false),
    ("audit_log", "S", "", true),
    ("barred_tpms", "SIu", "", true),
    ("broker_shares", "", "", false),
    ("channels", "SIu", "", true),
    ("deployments", "SIu", "", true),
    ("enrolments", "S", "S", true),
    ("event_logs", "S", "S", true),
    ("expected_registers", "SI", "", true),
    ("gaps", "S", "S", true),
    ("heartbeats", "Su", "S", true),
    ("idempotency", "SIu", "SIu", false),
    ("install_tokens", "SIu", "S", true),
    ("instances", "", "", false),
    ("job_runs", "S", "", true),
    ("jobs", "S", "", true),
    ("lanes", "Su", "S", true),
    ("network", "S", "", true),
    ("node_certificates", "Su", "S", true),
    ("node_releases", "S", "S", true),
    ("nodes", "SIu", "S", true),
    ("operators", "SIu", "S", true),
    ("release_metadata", "SI", "", true),
    ("release_targets", "SI", "", true),
    ("releases", "SIu", "", true),
    ("retention_clock", "", "", false),
    ("second_factors", "", "", false),
    ("secrets", "", "", false),
    ("sessions", "", "", false),
    ("supply", "Su", "", true),
    ("telemetry", "S", "S", true),
    ("unreadable_records", "S", "S", true),
    ("work", "Su", "", true),
];

/// What a role may do to a table, as PostgreSQL's catalogue has it.
async fn rights(owner: &PgPool, role: &str, table: &str) -> anyhow::Result<String> {
    let mut rights = String::new();
    for command in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        let (whole, some): (bool, bool) = sqlx::query_as(
            "SELECT has_table_privilege($1, $2, $3),
               CASE WHEN $3 <> 'DELETE' THEN has_any_column_privilege($1, $2, $3) ELSE false END",
        )
        .bind(role)
        .bind(format!("public.{table}"))
        .bind(command)
        .fetch_one(owner)
        .await?;
        let letter = command.chars().next().context("a command has letters")?;
        match (whole, some) {
            (true, _) => rights.push(letter),
            (false, true) => rights.push(letter.to_ascii_lowercase()),
            (false, false) => {}
        }
    }
    Ok(rights)
}

async fn pool(lab: &Lab, role: &str) -> anyhow::Result<PgPool> {
    let url = lab.control.reader_url()?.replace("noderr_reader@", &format!("{role}@"));
    Ok(PgPoolOptions::new().max_connections(1).connect_with(PgConnectOptions::from_str(&url)?).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_what_is_listed_for_each_table_and_nothing_else() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let owner = pool(&lab, "noderr_owner").await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         AND NOT relispartition ORDER BY relname COLLATE \"C\"",
    )
    .fetch_all(&owner)
    .await?;
    assert_eq!(tables, TABLES.iter().map(|(table, ..)| *table).collect::<Vec<_>>());
    for (table, staff, operator, reader) in TABLES {
        assert_eq!(rights(&owner, "noderr_staff", table).await?, *staff, "staff on {table}");
        assert_eq!(rights(&owner, "noderr_operator", table).await?, *operator, "operators on {table}");
        for role in ["noderr_public", "noderr_api"] {
            assert_eq!(rights(&owner, role, table).await?, "", "{role} on {table}");
        }
        let seen = rights(&owner, "noderr_reader", table).await?;
        // The reader may see the addresses of administrators, but not the hashes of their passwords.
        let expected = if *reader {
            "S"
        } else if *table == "admins" {
            "s"
        } else {
            ""
        };
        assert_eq!(seen, expected, "the reader on {table}");
        let protected: bool =
            sqlx::query_scalar("SELECT relrowsecurity FROM pg_class WHERE oid = $1::regclass")
                .bind(format!("public.{table}"))
                .fetch_one(&owner)
                .await?;
        assert!(protected || *table == "_sqlx_migrations", "{table} has no row-level security");
    }
    functions_with_their_owners_rights_are_safe(&lab, &owner).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_of_the_apis_role_stops_nobody_for_long() -> anyhow::Result<()> {
    let (_folder, mut lab) = lab(LabOptions::default()).await?;
    let api = pool(&lab, "noderr_api").await?;
    let as_staff = "BEGIN; SET LOCAL ROLE noderr_staff; SET LOCAL noderr.principal = 'nobody';
                    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0";
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
    )
    .fetch_all(&lab.database)
    .await?;
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables {
        for role in ["noderr_staff", "noderr_operator"] {
            // The weakest lock that keeps others from writing.
            let mut tx = api.begin_with(AssertSqlSafe(as_staff.replace("noderr_staff", role))).await?;
            let locked = sqlx::query(AssertSqlSafe(format!("LOCK TABLE {table} IN SHARE MODE")));
            let refused = locked.execute(&mut *tx).await.err();
            let code =
                refused.as_ref().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
            assert_eq!(code.as_deref(), Some("42501"), "{role} locks {table}: {refused:?}");
        }
    }
    // Names that lead elsewhere are led back at the next start, and are not followed by connections meanwhile.
    for place in ["", "IN DATABASE noderr"] {
        let elsewhere = format!("ALTER ROLE noderr_api {place} SET search_path = nowhere");
        sqlx::query(AssertSqlSafe(elsewhere)).execute(&api).await?;
    }
    sqlx::query("ALTER ROLE noderr_api IN DATABASE noderr SET default_transaction_read_only = on")
        .execute(&api)
        .await?;
    lab.control.restart_database().await?;
    until("the API to be back", SOON, || async { Ok(lab.admin.get("/nodes").await.ok().map(drop)) }).await?;

    lab.control.kill().await?;
    lab.control.start().await?;
    let act = json!({ "name": "After", "email": "after@demo.invalid" });
    lab.admin.post("/operators", &act).await.context("what was set for the role outlives a start")?;

    // Whoever holds the end of the audit log is ended after a while, and audited acts go on.
    let api = pool(&lab, "noderr_api").await?;
    let mut holding = api.begin_with(as_staff).await?;
    sqlx::query("SELECT public.audit('nobody', 'nothing', 'nowhere', '{}')").execute(&mut *holding).await?;
    let held = Instant::now();
    until("an audited act", SOON, || async {
        let act = json!({ "name": "Late", "email": "late@demo.invalid" });
        Ok(lab.admin.post("/operators", &act).await.ok().map(drop))
    })
    .await?;
    assert!(held.elapsed() > Duration::from_secs(5), "the audit log was not held at all");
    Ok(())
}

/// Checks that SQL of the API's role cannot gain more rights.
async fn functions_with_their_owners_rights_are_safe(lab: &Lab, owner: &PgPool) -> anyhow::Result<()> {
    let functions: Vec<(String, bool, Option<Vec<String>>)> = sqlx::query_as(
        "SELECT p.proname::text, r.rolsuper, p.proconfig FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
         WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace",
    )
    .fetch_all(owner)
    .await?;
    assert!(functions.len() >= 2, "{functions:?}");
    for (name, superuser, config) in functions {
        assert!(!superuser, "{name} runs as a superuser");
        let path = config.unwrap_or_default().into_iter().find(|setting| setting.starts_with("search_path="));
        assert_eq!(
            path.as_deref(),
            Some("search_path=pg_catalog, public, pg_temp"),
            "{name} may be led to a table of its caller's"
        );
    }
    let api = pool(lab, "noderr_api").await?;
    for attack in [
        "CREATE TEMPORARY TABLE audit_log (x int)",
        "CREATE TABLE public.mine (x int)",
        "SET ROLE noderr_owner",
        "SET ROLE noderr_keeper",
        "SET ROLE noderr_system",
        "ALTER TABLE nodes DISABLE ROW LEVEL SECURITY",
        "SELECT count(*) FROM nodes",
        "SET ROLE noderr_staff; SELECT password_hash FROM admins",
        "SET ROLE noderr_staff; INSERT INTO audit_log SELECT * FROM audit_log",
        "SET ROLE noderr_staff; LOCK TABLE audit_end",
        "SET ROLE noderr_staff; SELECT * FROM audit_end FOR UPDATE",
    ] {
        let refused = api.execute(sqlx::raw_sql(attack)).await.err();
        let code = refused.as_ref().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{attack}: {refused:?}");
        api.execute("RESET ROLE").await?;
    }
    let reader = &lab.database;
    let refused = sqlx::query("SELECT password_hash FROM admins").execute(reader).await;
    assert!(refused.is_err(), "the reader sees what is stored of passwords");
    Ok(())
}

/// Begins a transaction with an operator's rights, as an operator's request has it.
async fn as_operator(api: &PgPool, operator: &str) -> anyhow::Result<Transaction<'static, Postgres>> {
    uuid_like(operator)?;
    let begin = format!(
        "BEGIN; SET LOCAL ROLE noderr_operator; SET LOCAL noderr.operator = '{operator}';
         SET LOCAL noderr.principal = 'operator {operator}'"
    );
    Ok(api.begin_with(AssertSqlSafe(begin)).await?)
}

fn uuid_like(text: &str) -> anyhow::Result<()> {
    anyhow::ensure!(text.chars().all(|char| char.is_ascii_hexdigit() || char == '-'), "{text} is no id");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_their_own_rows_of_every_table_and_no_others() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, _rig) = lab.online_box("mine", &LIVELY).await?;
    account::settled(&lab.database, &node, 5).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    let stranger =
        lab.admin.post("/operators", &json!({ "name": "Stranger", "email": "s@demo.invalid" })).await?;
    let stranger = stranger["id"].as_str().context("no id")?;
    let owner = pool(&lab, "noderr_owner").await?;
    let id = hex::decode(&node)?;
    for fill in [
        "INSERT INTO gaps VALUES ($1, 'result', 1, 1, 1, 'budget')",
        "INSERT INTO alerts VALUES ($1, 1, 999, now(), now(), 'x', 'x')",
        "INSERT INTO event_logs SELECT challenge, node_id, now(), 1, 1, '' FROM attestations WHERE node_id = $1",
        "INSERT INTO node_releases VALUES ($1, 'os', 'x', '1.0.0', NULL, 'held')",
        "INSERT INTO unreadable_records VALUES ($1, 'result', 1, 999, now(), '')",
    ] {
        sqlx::query(fill).bind(&id).execute(&owner).await?;
    }
    sqlx::query("INSERT INTO idempotency (principal, key, request) VALUES ($1, 'k', '')")
        .bind(format!("operator {}", lab.operator))
        .execute(&owner)
        .await?;

    let api = pool(&lab, "noderr_api").await?;
    let readable = TABLES.iter().filter(|(_, _, operator, _)| operator.contains('S'));
    for table in readable.map(|(table, ..)| *table) {
        for (operator, sees) in [(lab.operator.as_str(), true), (stranger, false)] {
            let mut tx = as_operator(&api, operator).await?;
            // An operator's own row among the operators is theirs.
            let others =
                if table == "operators" { format!("id = '{}'", lab.operator) } else { "true".to_owned() };
            let count: i64 =
                sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {others}")))
                    .fetch_one(&mut *tx)
                    .await?;
            assert_eq!(count > 0, sees, "{table} shows {count} rows to {operator}");
        }
    }
    // An operator can neither read nor claim answers that were kept for another principal.
    let mut tx = as_operator(&api, stranger).await?;
    let claimed = sqlx::query("INSERT INTO idempotency (principal, key, request) VALUES ($1, 'l', '')")
        .bind(format!("operator {}", lab.operator))
        .execute(&mut *tx)
        .await;
    assert!(claimed.is_err(), "a stranger claims a key of somebody else's");
    Ok(())
}
