//! The API as people and scripts meet it.

use crate::{SOON, lab};
use noderr_cli::{ApiError, Client};
use noderr_hil::LabOptions;
use serde_json::{Value, json};

fn refused_as(result: Result<Value, ApiError>) -> String {
    match result {
        Err(error) => error.kind().map_or_else(|| error.to_string(), str::to_owned),
        Ok(value) => format!("not refused: {value}"),
    }
}

async fn token(
    admin: &Client,
    name: &str,
    permissions: &[&str],
    operator: Option<&str>,
) -> anyhow::Result<Client> {
    let body = json!({ "name": name, "permissions": permissions, "operator": operator });
    let token = admin.post("/tokens", &body).await?;
    Ok(admin.with_token(token["secret"].as_str().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_scopes_and_refusals() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let admin = &lab.admin;
    let (node, _) = lab.add_node("mine").await?;

    // Who may not, is told so.
    let nobody = lab.control.anonymous()?;
    assert_eq!(refused_as(nobody.get("/nodes").await), "unauthorised");
    assert_eq!(refused_as(nobody.with_token("nse_wrong").get("/nodes").await), "unauthorised");
    let reader = token(admin, "reader", &["read-nodes"], None).await?;
    assert_eq!(refused_as(reader.get("/audit").await), "permission");
    assert_eq!(
        refused_as(reader.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "x" })).await),
        "permission"
    );

    // A token never holds more than whoever issued it.
    let manager = token(admin, "manager", &["manage-tokens"], None).await?;
    let more = json!({ "name": "more", "permissions": ["write-nodes"] });
    assert_eq!(refused_as(manager.post("/tokens", &more).await), "permission");

    // An operator's token sees the operator's rows and no others.
    let stranger = admin.post("/operators", &json!({ "name": "S", "email": "s@demo.invalid" })).await?;
    let stranger = stranger["id"].as_str().unwrap_or_default().to_owned();
    let mine = token(admin, "mine", &["read-nodes", "read-operators"], Some(&lab.operator)).await?;
    let theirs = token(admin, "theirs", &["read-nodes", "read-operators"], Some(&stranger)).await?;
    assert_eq!(mine.list("/nodes", 10).await?.len(), 1);
    assert_eq!(theirs.list("/nodes", 10).await?.len(), 0);
    for page in ["", "/telemetry", "/alerts", "/lanes", "/attestations", "/install-tokens"] {
        assert_eq!(refused_as(theirs.get(&format!("/nodes/{node}{page}")).await), "not-found", "{page}");
    }
    let write = json!({ "name": "w", "permissions": ["write-nodes"], "operator": stranger });
    assert_eq!(refused_as(admin.post("/tokens", &write).await), "permission");

    // Bad input is refused as a problem, whatever is wrong with it.
    assert_eq!(refused_as(admin.post("/operators", &json!({ "name": "x" })).await), "body");
    assert_eq!(
        refused_as(admin.post("/operators", &json!({ "name": "x", "email": "nobody" })).await),
        "email"
    );
    assert_eq!(refused_as(admin.get("/nodes/xyz").await), "path");
    assert_eq!(refused_as(admin.get("/nodes?limit=0").await), "query");
    assert_eq!(refused_as(admin.get("/nodes?limit=many").await), "query");
    assert_eq!(refused_as(admin.get("/nodes?after=zzz").await), "query");
    assert_eq!(refused_as(admin.get("/nothing").await), "not-found");
    assert_eq!(refused_as(admin.delete("/nodes").await), "method");
    let again = json!({ "name": "S", "email": "S@demo.invalid" });
    assert_eq!(refused_as(admin.post("/operators", &again).await), "email-taken");
    let early = json!({ "operator": stranger, "label": "early" });
    assert_eq!(refused_as(admin.post("/nodes", &early).await), "operator-not-approved");

    // A revoked token stops working.
    let tokens = admin.list("/tokens", 100).await?;
    let id = tokens.iter().find(|token| token["name"] == "reader").and_then(|token| token["id"].as_str());
    admin.post(&format!("/tokens/{}/revoke", id.unwrap_or_default()), &json!({})).await?;
    assert_eq!(refused_as(reader.get("/nodes").await), "unauthorised");

    // Guessing takes longer and longer.
    for _ in 0..5 {
        let wrong = json!({ "email": lab.email(), "password": "wrong" });
        assert_eq!(refused_as(nobody.post("/sessions", &wrong).await), "unauthorised");
    }
    let right = json!({ "email": lab.email(), "password": lab.password });
    assert_eq!(refused_as(nobody.post("/sessions", &right).await), "throttled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_audit_documents_and_metrics() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    for number in 0..7 {
        lab.add_node(&format!("node {number}")).await?;
    }
    // Page by page comes to the same as all at once, and nothing twice.
    let (mut labels, mut after) = (Vec::new(), String::new());
    loop {
        let page = lab.admin.get(&format!("/nodes?limit=3{after}")).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        labels.extend(items.iter().filter_map(|node| node["label"].as_str().map(str::to_owned)));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<_> = (0..7).rev().map(|number| format!("node {number}")).collect();
    assert_eq!(labels, expected);

    // The audit log holds together, and falls apart when it is touched.
    let check = lab.admin.get("/audit/check").await?;
    assert_eq!(check["intact"], true);
    assert!(check["entries"].as_i64() > Some(7));
    let owner = sqlx::PgPool::connect(&lab.control.owner_url()?).await?;
    assert!(
        sqlx::query("UPDATE audit_log SET actor = 'nobody'").execute(&owner).await.is_err(),
        "append-only"
    );
    sqlx::query("ALTER TABLE audit_log DISABLE TRIGGER ALL").execute(&owner).await?;
    sqlx::query("UPDATE audit_log SET actor = 'nobody' WHERE seq = 3").execute(&owner).await?;
    let check = lab.admin.get("/audit/check").await?;
    assert_eq!((&check["intact"], &check["broken_at"]), (&json!(false), &json!(3)));

    let document = lab.control.anonymous()?.get("/openapi.json").await?;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert!(document["paths"]["/api/v1/nodes/{node}/revoke"]["post"].is_object());

    // Ready means that the database answers: it does not while PostgreSQL is away.
    noderr_hil::until("readiness", SOON, || async {
        Ok(lab.control.anonymous()?.get("/ready").await.is_ok().then_some(()))
    })
    .await
}
