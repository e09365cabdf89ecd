//! Requests that are repeated with one Idempotency-Key: done once, answered twice.

use noderr_hil::plane::TestPlane;
use serde_json::json;

async fn nodes(plane: &TestPlane) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM nodes").fetch_one(&plane.owner).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_is_answered_again_and_not_done_again() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let new = json!({ "operator": plane.operator("o@test.invalid").await?, "label": "x" });
    let once = plane.admin().once("key-1");
    let first = once.post("/nodes", &new).await?;
    assert_eq!(once.post("/nodes", &new).await?, first);
    assert_eq!((first.status.as_u16(), nodes(&plane).await?), (201, 1));
    let other = json!({ "operator": new["operator"], "label": "y" });
    assert_eq!(once.post("/nodes", &other).await?.problem(), "key-reused");
    assert_eq!(once.post("/operators", &new).await?.problem(), "body");
    // A key counts for its sender alone.
    plane.with_role("fleet").await?.once("key-1").post("/nodes", &new).await?.expect(201)?;
    assert_eq!(nodes(&plane).await?, 2);
    for wrong in ["a b", &"x".repeat(201)] {
        assert_eq!(
            plane.admin().once(wrong).post("/nodes", &new).await?.problem(),
            "idempotency-key",
            "{wrong}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_is_done() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let new = json!({ "operator": plane.operator("o@test.invalid").await?, "label": "x" });
    let once = plane.admin().once("both");
    let answers =
        tokio::join!(once.post("/nodes", &new), once.post("/nodes", &new), once.post("/nodes", &new));
    let (a, b, c) = (answers.0?, answers.1?, answers.2?);
    assert!(a == b && b == c, "{a:?} {b:?} {c:?}");
    assert_eq!(nodes(&plane).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_be_asked_again_and_a_secret_is_not_kept() -> anyhow::Result<()> {
    let plane = TestPlane::open().await?;
    let once = plane.admin().once("later");
    let operator = plane
        .admin()
        .post("/operators", &json!({ "name": "O", "email": "o@test.invalid" }))
        .await?
        .expect(201)?;
    let id = operator["id"].as_str().unwrap_or_default();
    let new = json!({ "operator": id, "label": "x" });
    assert_eq!(once.post("/nodes", &new).await?.problem(), "operator-not-approved");
    plane.admin().post(&format!("/operators/{id}/approve"), &json!({})).await?.expect(200)?;
    let node = once.post("/nodes", &new).await?.expect(201)?;

    let path = format!("/nodes/{}/install-tokens", node["id"].as_str().unwrap_or_default());
    let once = plane.admin().once("secret");
    let secret = once.post(&path, &json!({})).await?.expect(201)?["secret"].clone();
    assert_eq!(once.post(&path, &json!({})).await?.problem(), "already-made");
    let kept: Vec<String> = sqlx::query_scalar("SELECT body::text FROM idempotency WHERE body IS NOT NULL")
        .fetch_all(&plane.owner)
        .await?;
    let secret = secret.as_str().unwrap_or_default();
    assert!(secret.starts_with("nit_") && !kept.is_empty() && kept.iter().all(|body| !body.contains(secret)));
    Ok(())
}
