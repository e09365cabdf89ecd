//! Access: what nobody, roles, tokens and operators' tokens may do; and a fresh proof before an act that
//! lasts.

use noderr_hil::plane::{Client, TestPlane};
use noderr_hil::until;
use noderr_kernel::Email;
use serde_json::{Value, json};
use std::time::Duration;

async fn token(admin: &Client, body: Value) -> anyhow::Result<(Value, Client)> {
    let issued = admin.post("/tokens", &body).await?.expect(201)?;
    let client = admin.with_secret(issued["secret"].as_str().unwrap_or_default());
    Ok((issued, client))
}

fn revoke(token: &Value) -> String {
    format!("/tokens/{}/revoke", token["id"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_or_does_more_than_they_may() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let mine = plane.operator("mine@test.invalid").await?;
    let node = plane.node(&mine, "mine").await?;

    // A client that may not do something is told so.
    let nobody = plane.nobody();
    assert_eq!(nobody.get("/nodes").await?.problem(), "unauthorised");
    assert_eq!(nobody.with_secret("nse_wrong").get("/nodes").await?.problem(), "unauthorised");
    let (reader_token, reader) =
        token(&admin, json!({ "name": "reader", "permissions": ["read-nodes"] })).await?;
    assert_eq!(reader.get("/audit").await?.problem(), "permission");
    let revocation = reader.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "x" })).await?;
    assert_eq!(revocation.problem(), "permission");

    // A token never holds more than its issuer, and the permissions that it is to hold must exist.
    let (_, manager) = token(&admin, json!({ "name": "manager", "permissions": ["manage-tokens"] })).await?;
    let more = json!({ "name": "more", "permissions": ["write-nodes"] });
    assert_eq!(manager.post("/tokens", &more).await?.problem(), "permission");
    let unknown = json!({ "name": "x", "permissions": ["fly"] });
    assert_eq!(admin.post("/tokens", &unknown).await?.problem(), "unknown-permission");

    // An operator's token sees the operator's rows and no others.
    let stranger = plane.operator("stranger@test.invalid").await?;
    let of = |operator: &str| json!({ "name": "o", "permissions": ["read-nodes", "read-operators"], "operator": operator });
    let (_, mine) = token(&admin, of(&mine)).await?;
    let (_, theirs) = token(&admin, of(&stranger)).await?;
    for (client, seen) in [(&mine, 1), (&theirs, 0)] {
        assert_eq!(client.get("/nodes").await?.expect(200)?["items"].as_array().map(Vec::len), Some(seen));
        assert_eq!(client.get("/operators").await?.expect(200)?["items"].as_array().map(Vec::len), Some(1));
    }
    for page in ["", "/telemetry", "/alerts", "/lanes", "/attestations", "/install-tokens"] {
        assert_eq!(theirs.get(&format!("/nodes/{node}{page}")).await?.problem(), "not-found", "{page}");
    }
    let write = json!({ "name": "w", "permissions": ["write-nodes"], "operator": stranger });
    assert_eq!(admin.post("/tokens", &write).await?.problem(), "reads-only");

    // A revoked token stops working.
    admin.post(&revoke(&reader_token), &json!({})).await?.expect(204)?;
    assert_eq!(reader.get("/nodes").await?.problem(), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_what_it_is_there_for() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let operator = plane.operator("a@test.invalid").await?;
    let (node, tokens, audit) = (json!({ "operator": operator, "label": "x" }), "/tokens", "/audit");
    let new = json!({ "name": "O", "email": "o@test.invalid" });
    for (role, adds_nodes, adds_operators, sees_audit) in
        [("fleet", 201, 403, 403), ("reviewer", 403, 201, 403), ("auditor", 403, 403, 200)]
    {
        let client = plane.with_role(role).await?;
        assert_eq!(client.get("/nodes").await?.status, 200, "{role}");
        assert_eq!(client.post("/nodes", &node).await?.status, adds_nodes, "{role}");
        assert_eq!(client.post("/operators", &new).await?.status, adds_operators, "{role}");
        assert_eq!(client.get(audit).await?.status, sees_audit, "{role}");
        assert_eq!(client.get(tokens).await?.problem(), "permission", "{role}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_has_logged_in_sees_what_is_theirs() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let (mine, theirs) = (plane.operator("a@test.invalid").await?, plane.operator("b@test.invalid").await?);
    plane.node(&mine, "mine").await?;
    plane.node(&theirs, "theirs").await?;
    let session = noderr_kernel::new_secret("nse_");
    sqlx::query(
        "INSERT INTO sessions (hash, operator_id, expires_at) VALUES ($1, $2::text::uuid, now() + interval '1 hour')",
    )
    .bind(noderr_kernel::hash_secret(&session))
    .bind(&mine)
    .execute(&plane.owner)
    .await?;
    let client = plane.nobody().with_secret(&session);
    let nodes = client.get("/nodes").await?.expect(200)?;
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(nodes["items"][0]["label"], "mine");
    let new = json!({ "operator": mine, "label": "x" });
    assert_eq!(client.post("/nodes", &new).await?.problem(), "permission");
    assert_eq!(client.get("/second-factor").await?.problem(), "not-an-admin");
    plane.admin().post(&format!("/operators/{mine}/suspend"), &json!({})).await?.expect(200)?;
    assert_eq!(client.get("/nodes").await?.problem(), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_issues_none_that_outlives_it_and_revokes_none_that_may_more() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let (issued, parent) = token(
        &admin,
        json!({ "name": "parent", "permissions": ["manage-tokens", "read-nodes"], "expires_in_days": 1 }),
    )
    .await?;
    let (child_token, child) =
        token(&parent, json!({ "name": "child", "permissions": ["read-nodes"] })).await?;
    assert_eq!(child_token["expires_at"], issued["expires_at"]);
    assert_eq!(child_token["owner"], json!(plane.admin_id));
    child.get("/nodes").await?.expect(200)?;

    let (mightier, _) = token(&admin, json!({ "name": "mightier", "permissions": ["write-nodes"] })).await?;
    assert_eq!(parent.post(&revoke(&mightier), &json!({})).await?.problem(), "permission");
    let (grandchild, as_mighty) = token(
        &parent,
        json!({ "name": "heir", "permissions": ["manage-tokens", "read-nodes"], "expires_in_days": 1 }),
    )
    .await?;
    assert_eq!(
        as_mighty.post(&revoke(&issued), &json!({})).await?.problem(),
        "permission",
        "a child ends its parent"
    );
    parent.post(&revoke(&grandchild), &json!({})).await?.expect(204)?;

    admin.post(&revoke(&issued), &json!({})).await?.expect(204)?;
    for token in [&parent, &child] {
        assert_eq!(token.get("/nodes").await?.problem(), "unauthorised");
    }

    // A suspended operator's token is out with the operator's nodes.
    let operator = plane.operator("o@test.invalid").await?;
    let of = json!({ "name": "theirs", "permissions": ["read-nodes"], "operator": operator });
    let (_, theirs) = token(&admin, of).await?;
    theirs.get("/nodes").await?.expect(200)?;
    admin.post(&format!("/operators/{operator}/suspend"), &json!({})).await?.expect(200)?;
    assert_eq!(theirs.get("/nodes").await?.problem(), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_no_fresh_proof_issues_no_token_and_a_token_goes_with_its_owner()
-> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let body = json!({ "name": "x", "permissions": ["read-nodes"] });
    let (_, token) = token(&admin, body.clone()).await?;
    sqlx::query("UPDATE sessions SET proven_at = now() - interval '11 minutes'")
        .execute(&plane.owner)
        .await?;
    assert_eq!(admin.post("/tokens", &body).await?.problem(), "proof-required");
    let wrong = json!({ "password": "a guess" });
    assert_eq!(admin.post("/sessions/current/proof", &wrong).await?.problem(), "password-wrong");

    let password = "correct horse battery";
    let hash = noderr_people::admins::hash_password(password.to_owned()).await?;
    sqlx::query("UPDATE admins SET password_hash = $1").bind(hash).execute(&plane.owner).await?;
    admin.post("/sessions/current/proof", &json!({ "password": password })).await?.expect(204)?;
    admin.post("/tokens", &body).await?.expect(201)?;

    token.get("/nodes").await?.expect(200)?;
    sqlx::query("DELETE FROM admins").execute(&plane.owner).await?;
    assert_eq!(token.get("/nodes").await?.problem(), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_takes_a_fresh_proof_of_the_person() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let operator = plane.operator("o@test.invalid").await?;
    let node = plane.node(&operator, "box").await?;
    sqlx::query("UPDATE sessions SET proven_at = now() - interval '11 minutes'")
        .execute(&plane.owner)
        .await?;
    let challenge = json!({ "challenge": "00".repeat(16) });
    for (act, body) in [
        ("revoke", json!({ "reason": "x" })),
        ("unbind", json!({})),
        ("install-tokens", json!({})),
        ("baseline", challenge),
    ] {
        let answer = admin.post(&format!("/nodes/{node}/{act}"), &body).await?;
        assert_eq!(answer.problem(), "proof-required", "{act}");
    }
    for act in ["approve", "suspend"] {
        let path = format!("/operators/{operator}/{act}");
        assert_eq!(admin.post(&path, &json!({})).await?.problem(), "proof-required", "{act}");
    }
    let work = format!("/work/{}", plane.admin_id);
    assert_eq!(admin.delete(&work).await?.problem(), "proof-required");
    admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": true })).await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_loses_what_its_owner_loses_and_can_always_be_revoked() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let admin = plane.admin();
    let operator = plane.operator("o@test.invalid").await?;
    let all = json!({ "name": "all", "permissions": ["read-nodes", "write-nodes"] });
    let (issued, client) = token(&admin, all).await?;
    let new = json!({ "operator": operator, "label": "box" });
    client.post("/nodes", &new).await?.expect(201)?;

    sqlx::query("UPDATE admins SET roles = '{auditor}'").execute(&plane.owner).await?;
    assert_eq!(client.post("/nodes", &new).await?.problem(), "permission");
    client.get("/nodes").await?.expect(200)?;

    // A permission that no version declares any more.
    sqlx::query("UPDATE admins SET roles = '{owner}'").execute(&plane.owner).await?;
    sqlx::query("UPDATE api_tokens SET permissions = '{read-nodes,retired}'").execute(&plane.owner).await?;
    admin.post(&revoke(&issued), &json!({})).await?.expect(204)?;
    assert_eq!(client.get("/nodes").await?.problem(), "unauthorised");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_can_be_removed_in_the_middle_of_their_login() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    sqlx::query("INSERT INTO second_factors (admin_id, secret, confirmed) VALUES ($1, 'x', true)")
        .bind(plane.admin_id)
        .execute(&plane.owner)
        .await?;
    // As a login goes: the second factor is held, then the administrator.
    let mut login = plane.owner.begin().await?;
    sqlx::query("SELECT FROM second_factors FOR UPDATE").execute(&mut *login).await?;
    let database = plane.plane.kernel.database.clone();
    let removal = tokio::spawn(async move {
        let mut tx = database.begin().await?;
        let email = Email::parse("admin@test.invalid").map_err(anyhow::Error::msg)?;
        let removed = noderr_people::admins::remove(&mut tx, &email).await?;
        tx.commit().await?;
        anyhow::Ok(removed)
    });
    until("the removal to wait for the login", Duration::from_secs(20), || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        Ok((sqlx::query_scalar::<_, i64>(waiting).fetch_one(&plane.owner).await? > 0).then_some(()))
    })
    .await?;
    sqlx::query("SELECT FROM admins FOR SHARE").execute(&mut *login).await?;
    login.commit().await?;
    assert!(removal.await??);
    Ok(())
}

/// As `noderrctl` logs in: the password first, and once the account turns out to have a second factor, with its code.
#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_a_code_is_needed_uses_no_attempt_up() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let hash = noderr_people::admins::hash_password("correct horse battery".to_owned()).await?;
    sqlx::query("UPDATE admins SET password_hash = $1").bind(hash).execute(&plane.owner).await?;
    sqlx::query("INSERT INTO second_factors (admin_id, secret, confirmed) VALUES ($1, $2, true)")
        .bind(plane.admin_id)
        .bind([7_u8; 20].as_slice())
        .execute(&plane.owner)
        .await?;
    let nobody = plane.nobody();
    let body = json!({ "email": "admin@test.invalid", "password": "correct horse battery" });
    for _ in 0..8 {
        assert_eq!(nobody.post("/sessions", &body).await?.problem(), "code-required");
    }
    let wrong = json!({ "email": "admin@test.invalid", "password": "a guess" });
    let guesses = [(); 6].map(|()| nobody.post("/sessions", &wrong));
    let mut kinds = Vec::new();
    for guess in guesses {
        kinds.push(guess.await?.problem().to_owned());
    }
    assert_eq!(kinds[5], "throttled", "wrong passwords count: {kinds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_the_password_of_an_administrator_is_on_record() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let (admin, nobody) = (plane.admin(), plane.nobody());
    let try_as = async |email: &str| {
        let body = json!({ "email": email, "password": "not the password" });
        anyhow::Ok(nobody.post("/sessions", &body).await?.problem().to_owned())
    };
    // Unknown accounts leave nothing behind, or strangers could fill the log.
    assert_eq!(try_as("unknown@test.invalid").await?, "password-wrong");
    for _ in 0..3 {
        assert_eq!(try_as("admin@test.invalid").await?, "password-wrong");
    }
    let entries = until("the failed logins on record", Duration::from_secs(10), || async {
        let audit = admin.get("/audit").await?.expect(200)?;
        let entries = audit["items"].as_array().cloned().unwrap_or_default();
        let refused = |entry: &&Value| entry["action"] == "session.refused";
        let refused: Vec<_> = entries.iter().filter(refused).cloned().collect();
        Ok((!refused.is_empty()).then_some(refused))
    })
    .await?;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["subject"], json!(plane.admin_id), "{entries:?}");
    assert!(!entries[0].to_string().contains("127.0.0.1"), "no address is kept");
    Ok(())
}
