//! Input that is refused, pages, the audit log, the document that describes the API.

use anyhow::Context as _;
use noderr_hil::plane::TestPlane;
use noderr_hil::until;
use noderr_kernel::Problem;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_as_a_problem() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    for (path, problem) in [
        ("/nodes/xyz", "path"),
        ("/operators/xyz", "path"),
        ("/nodes?limit=0", "query"),
        ("/nodes?limit=many", "query"),
        ("/nodes?after=zzz", "page"),
        ("/nodes?after=", "page"),
        ("/nodes?oline=true", "query"),
        ("/tokens?revoked=true", "query"),
        ("/nothing", "not-found"),
    ] {
        assert_eq!(admin.get(path).await?.problem(), problem, "{path}");
    }
    assert_eq!(admin.delete("/nodes").await?.problem(), "method");
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "email": "nobody" }),
        json!({ "name": " ", "email": "a@b" }),
        json!({ "name": "a\u{1b}[2J", "email": "a@b" }),
        json!({ "name": "x".repeat(201), "email": "a@b" }),
        json!({ "name": "x", "email": "a@b", "more": 1 }),
        json!(["x", "a@b"]),
    ] {
        let answer = admin.post("/operators", &body).await?;
        assert_eq!((answer.status.as_u16(), answer.problem()), (400, "body"), "{body}");
    }
    for days in [json!(0), json!(366), json!(-1), json!("soon"), json!(1.5)] {
        let body = json!({ "name": "x", "permissions": [], "expires_in_days": days });
        assert_eq!(admin.post("/tokens", &body).await?.problem(), "body", "{days}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn states_that_exclude_an_act_refuse_it() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let other =
        admin.post("/operators", &json!({ "name": "S", "email": "s@test.invalid" })).await?.expect(201)?;
    let again = json!({ "name": "S", "email": "S@test.invalid" });
    assert_eq!(admin.post("/operators", &again).await?.problem(), "email-taken");
    let early = json!({ "operator": other["id"], "label": "early" });
    assert_eq!(admin.post("/nodes", &early).await?.problem(), "operator-not-approved");

    let operator = plane.operator("o@test.invalid").await?;
    let node = plane.node(&operator, "gone").await?;
    admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await.map(|answer| {
        assert_eq!(answer.problem(), "nothing-to-attest");
    })?;
    let revoked =
        admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "stolen" })).await?.expect(200)?;
    assert_eq!(revoked["revoked_reason"], "stolen");
    let again =
        admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "other" })).await?.expect(200)?;
    assert_eq!(again["revoked_reason"], "stolen", "a second reason takes the first one's place");
    assert_eq!(admin.post(&format!("/nodes/{node}/unbind"), &json!({})).await?.problem(), "revoked");
    assert_eq!(
        admin.post(&format!("/nodes/{node}/install-tokens"), &json!({})).await?.problem(),
        "may-not-enrol"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn page_by_page_comes_to_the_same_as_all_at_once() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let operator = plane.operator("o@test.invalid").await?;
    for number in 0..7 {
        plane.node(&operator, &format!("node {number}")).await?;
    }
    let (mut labels, mut after) = (Vec::new(), String::new());
    loop {
        let page = plane.admin().get(&format!("/nodes?limit=3{after}")).await?.expect(200)?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        labels.extend(items.iter().filter_map(|node| node["label"].as_str().map(str::to_owned)));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<_> = (0..7).rev().map(|number| format!("node {number}")).collect();
    assert_eq!(labels, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_holds_together_and_shows_when_it_was_touched() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let (admin, operator) = (plane.admin(), plane.operator("o@test.invalid").await?);
    plane.node(&operator, "x").await?;
    let check = admin.get("/audit/check").await?.expect(200)?;
    assert_eq!((&check["intact"], &check["entries"]), (&json!(true), &json!(3)));
    // Entries hold ids; names are looked up.
    let of_operator = admin.get("/audit?subject=o@test.invalid").await?.expect(200)?;
    let newest = &of_operator["items"][0];
    assert_eq!((&newest["action"], &newest["subject"]), (&json!("operator.approve"), &json!(operator)));
    assert_eq!(newest["actor"], json!(format!("admin {}", plane.admin_id)));
    assert_eq!(newest["actor_name"], "admin@test.invalid");

    let touch = "UPDATE audit_log SET actor = 'nobody' WHERE seq = 2";
    assert!(sqlx::query(touch).execute(&plane.owner).await.is_err(), "append-only");
    sqlx::query("ALTER TABLE audit_log DISABLE TRIGGER ALL").execute(&plane.owner).await?;
    sqlx::query(touch).execute(&plane.owner).await?;
    let check = admin.get("/audit/check").await?.expect(200)?;
    assert_eq!((&check["intact"], &check["broken_at"]), (&json!(false), &json!(2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_names_every_problem_and_permission() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let document = plane.nobody().get("/openapi.json").await?.expect(200)?;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let schemas = &document["components"]["schemas"];
    let named = |list: &Value| list.as_array().map(Vec::len).unwrap_or_default();
    assert!(named(&schemas["ProblemBody"]["properties"]["type"]["enum"]) > 40, "{}", schemas["ProblemBody"]);
    let permissions = plane.plane.kernel.permissions.all().len();
    assert_eq!(named(&schemas["Permission"]["enum"]), permissions);
    let revoke = &document["paths"]["/api/v1/nodes/{node}/revoke"]["post"];
    let refusal = "#/components/schemas/ProblemBody";
    assert_eq!(revoke["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"], refusal);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_database_is_named_as_what_it_is() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let mut connection = plane.plane.kernel.database.system().acquire().await?;
    for (statement, problem) in [
        ("SET statement_timeout = 1; SELECT pg_sleep(10)", "too-slow"),
        ("SET statement_timeout = 0; SELECT * FROM _sqlx_migrations", "internal"),
        ("SELECT 1 / 0", "value"),
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$", "database"),
    ] {
        let failed = sqlx::raw_sql(statement).execute(&mut *connection).await;
        let error = failed.err().context("it succeeded")?;
        assert_eq!(Problem::from(error).kind().name, problem, "{statement}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_credential_is_held_to_a_rate_and_others_are_not() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let (nobody, admin) = (plane.nobody(), plane.admin());
    assert_eq!(admin.get("/nodes").await?.status.as_u16(), 200);
    let mut answers = Vec::new();
    for _ in 0..600 {
        answers.push(nobody.get("/health").await?.status.as_u16());
    }
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert!(refused > 0 && answers[..400].iter().all(|status| *status == 200), "{refused} of 600");
    // A slow machine's address has earned a few more meanwhile.
    let guesser = nobody.with_secret("nap_nobody");
    let mut problems = Vec::new();
    for _ in 0..300 {
        problems.push(guesser.get("/nodes").await?.problem().to_owned());
    }
    assert!(problems.iter().any(|problem| problem == "throttled"), "{problems:?}");
    // On a page that anybody may ask for, a header that nobody looks at buys nothing.
    let mut answers = Vec::new();
    for _ in 0..300 {
        answers.push(guesser.get("/health").await?.status.as_u16());
    }
    assert!(answers.contains(&429), "{answers:?}");
    // Whoever was known before is heard meanwhile, behind the same address.
    assert_eq!(admin.get("/nodes").await?.status.as_u16(), 200);
    // Whoever has another credential is heard once strangers have calmed down.
    let admin = plane.with_role("fleet").await?;
    until("the address to be heard again", Duration::from_secs(20), || async {
        Ok((admin.get("/nodes").await?.status.as_u16() == 200).then_some(()))
    })
    .await
}
