//! The API as people and scripts meet it.

use crate::raw::{Caller, get, refused_as};
use crate::{SOON, lab};
use noderr_cli::Client;
use noderr_hil::{ControlOptions, ControlPlane, LabOptions, leftovers, scratch, until};
use serde_json::{Value, json};
use sqlx::PgPool;

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
async fn nobody_sees_or_does_more_than_they_may() -> anyhow::Result<()> {
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
    assert_eq!(refused_as(admin.post("/tokens", &write).await), "reads-only");

    // A revoked token stops working.
    let tokens = admin.list("/tokens", 100).await?;
    let id = tokens.iter().find(|token| token["name"] == "reader").and_then(|token| token["id"].as_str());
    admin.post(&format!("/tokens/{}/revoke", id.unwrap_or_default()), &json!({})).await?;
    assert_eq!(refused_as(reader.get("/nodes").await), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_as_a_problem_and_guessing_is_slow() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (admin, nobody) = (&lab.admin, lab.control.anonymous()?);
    assert_eq!(refused_as(admin.post("/operators", &json!({ "name": "x" })).await), "body");
    assert_eq!(
        refused_as(admin.post("/operators", &json!({ "name": "x", "email": "nobody" })).await),
        "body"
    );
    assert_eq!(refused_as(admin.get("/nodes/xyz").await), "path");
    assert_eq!(refused_as(admin.get("/nodes?limit=0").await), "query");
    assert_eq!(refused_as(admin.get("/nodes?limit=many").await), "query");
    assert_eq!(refused_as(admin.get("/nodes?after=zzz").await), "query");
    assert_eq!(refused_as(admin.get("/nodes?oline=true").await), "query");
    assert_eq!(refused_as(admin.get("/tokens?revoked=true").await), "query");
    assert_eq!(refused_as(admin.get("/nothing").await), "not-found");
    assert_eq!(refused_as(admin.delete("/nodes").await), "method");
    let other = admin.post("/operators", &json!({ "name": "S", "email": "s@demo.invalid" })).await?;
    let again = json!({ "name": "S", "email": "S@demo.invalid" });
    assert_eq!(refused_as(admin.post("/operators", &again).await), "email-taken");
    let early = json!({ "operator": other["id"], "label": "early" });
    assert_eq!(refused_as(admin.post("/nodes", &early).await), "operator-not-approved");

    // Guessing takes longer and longer.
    for _ in 0..5 {
        let wrong = json!({ "email": lab.email(), "password": "wrong" });
        assert_eq!(refused_as(nobody.post("/sessions", &wrong).await), "password-wrong");
    }
    let right = json!({ "email": lab.email(), "password": lab.password });
    assert_eq!(refused_as(nobody.post("/sessions", &right).await), "throttled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_under_way_does_not_outlive_a_new_password() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    // The new password is set, but not yet for everybody to see, while the old one is checked.
    let mut setting = owner.begin().await?;
    sqlx::query("UPDATE admins SET password_hash = 'another'").execute(&mut *setting).await?;
    let nobody = lab.control.anonymous()?;
    let login = json!({ "email": lab.email(), "password": lab.password });
    let login = tokio::spawn(async move { nobody.post("/sessions", &login).await });
    until("the login to meet the new password", SOON, || async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO sessions%'";
        Ok((sqlx::query_scalar::<_, i64>(waits).fetch_one(&owner).await? > 0).then_some(()))
    })
    .await?;
    setting.commit().await?;
    assert_eq!(refused_as(login.await?), "password-wrong");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_not_unbound_and_a_token_is_good_for_a_day_at_least() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, _) = lab.add_node("gone").await?;
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "stolen" })).await?;
    assert_eq!(refused_as(lab.admin.post(&format!("/nodes/{node}/unbind"), &json!({})).await), "revoked");
    let useless = json!({ "name": "x", "permissions": ["read-nodes"], "expires_in_days": 0 });
    assert_eq!(refused_as(lab.admin.post("/tokens", &useless).await), "body");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_issues_none_that_outlives_it_and_revokes_none_that_may_more() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let body =
        json!({ "name": "parent", "permissions": ["manage-tokens", "read-nodes"], "expires_in_days": 1 });
    let issued = lab.admin.post("/tokens", &body).await?;
    let parent = lab.admin.with_token(issued["secret"].as_str().unwrap_or_default());
    let body = json!({ "name": "child", "permissions": ["read-nodes"] });
    let child = parent.post("/tokens", &body).await?;
    assert_eq!(child["expires_at"], issued["expires_at"]);
    let child = lab.admin.with_token(child["secret"].as_str().unwrap_or_default());
    child.get("/nodes").await?;

    let body = json!({ "name": "mightier", "permissions": ["write-nodes"] });
    let mightier = lab.admin.post("/tokens", &body).await?;
    let revoke = |token: &Value| format!("/tokens/{}/revoke", token["id"].as_str().unwrap_or_default());
    assert_eq!(refused_as(parent.post(&revoke(&mightier), &json!({})).await), "permission");

    lab.admin.post(&revoke(&issued), &json!({})).await?;
    for token in [&parent, &child] {
        assert_eq!(refused_as(token.get("/nodes").await), "unauthorised");
    }

    // A suspended operator's token is out with the operator's nodes.
    let theirs = token(&lab.admin, "theirs", &["read-nodes"], Some(&lab.operator)).await?;
    theirs.get("/nodes").await?;
    lab.admin.post(&format!("/operators/{}/suspend", lab.operator), &json!({})).await?;
    assert_eq!(refused_as(theirs.get("/nodes").await), "unauthorised");
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

    let metrics = Caller::new(&lab, [127, 0, 0, 1])?.ask(&get("/metrics")).await?;
    assert!(metrics.contains("\nnoderr_broker_sessions 0\n"), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_the_database_answers() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let stranger = lab.control.anonymous()?;
    let unready = until("it to say that it is not ready", SOON, || async {
        Ok(stranger.get("/ready").await.err().and_then(|error| error.kind().map(str::to_owned)))
    });
    let (restarted, kind) = tokio::join!(lab.control.restart_database(), unready);
    restarted?;
    assert_eq!(kind?, "database");
    until("readiness", SOON, || async { Ok(stranger.get("/ready").await.ok()) }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_client_should_send_is_refused_with_a_problem() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let caller = Caller::new(&lab, [127, 0, 0, 1])?;
    let post = |body: &str, kind: &str| {
        format!(
            "POST /api/v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "application/json";
    for (request, status, problem) in [
        (post(&format!("\"{}\"", "x".repeat(2 << 20)), json), 413, "too-large"),
        (post(r#"{"email":"a\u0000@b","password":"x"}"#, json), 400, "value"),
        (post("{", json), 400, "body"),
        (post(r#"{"email":"a","password":"x","more":1}"#, json), 400, "body"),
        (post("{}", "text/plain"), 415, "media-type"),
        (get("/nowhere"), 404, "not-found"),
        (get("/sessions"), 405, "method"),
        (get("/nodes"), 401, "unauthorised"),
    ] {
        let answer = caller.ask(&request).await?;
        let shown: String = answer.chars().take(600).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{problem}: {shown}");
        assert!(answer.contains("content-type: application/problem+json"), "{problem}: {shown}");
        assert!(answer.contains(&format!("\"/problems/{problem}\"")), "{problem}: {shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_issues_a_certificate_for_another_server() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, lab) = lab(LabOptions::default()).await?;
    let out = folder.path().join("mqtt");
    let arguments = ["issue-server", "localhost", "--out", out.to_str().unwrap_or_default()];
    lab.control.run(&arguments).await?;
    assert_eq!(std::fs::metadata(out.join("server.key"))?.permissions().mode() & 0o077, 0);
    let checked = std::process::Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile"])
        .arg(lab.control.root_file())
        .arg(out.join("server.pem"))
        .output()?;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let again = lab.control.run(&arguments).await.expect_err("a key in use is overwritten");
    assert!(again.to_string().contains("server."), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_cannot_start_says_why_and_leaves_nothing_running() -> anyhow::Result<()> {
    let folder = scratch()?;
    let [free, taken] = [(); 2].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)));
    let (free, taken) = (free?.local_addr()?.port(), taken?);
    let no_roots = ControlOptions { vendor_roots: Some("/nope".into()), ..ControlOptions::default() };
    let no_port =
        ControlOptions { ports: Some((free, taken.local_addr()?.port())), ..ControlOptions::default() };
    for (name, options, why) in
        [("roots", no_roots, "enrolment.vendor_roots"), ("port", no_port, "cannot listen on")]
    {
        let mut control = ControlPlane::new(&folder.path().join(name), &options)?;
        let error = control.start().await.expect_err("it started");
        assert!(error.to_string().contains(why), "{error}");
        let left = leftovers(folder.path());
        assert!(left.is_empty(), "{name}: {left:?} are left running");
    }
    Ok(())
}
