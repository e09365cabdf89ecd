//! The second factor: setting up, asking for codes, taking each code once, removing, resetting.

use super::lab;
use noderr_cli::ApiError;
use noderr_hil::{Lab, LabOptions};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::{SystemTime, UNIX_EPOCH};
use totp_rs::{Algorithm, Secret, TOTP};

/// An authenticator app.
struct Authenticator(TOTP);

impl Authenticator {
    fn new(secret: &str) -> anyhow::Result<Self> {
        let secret =
            Secret::Encoded(secret.to_owned()).to_bytes().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Self(TOTP::new(Algorithm::SHA1, 6, 1, 30, secret, None, String::new())?))
    }

    fn code(&self, step: u64) -> String {
        self.0.generate(step * 30)
    }
}

fn step_now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 30)
}

/// Sets a second factor up with the code before the present code; returns the app and the step of that code.
async fn set_up(lab: &Lab) -> anyhow::Result<(Authenticator, u64)> {
    let factor = lab.admin.post("/second-factor", &json!({ "password": lab.password })).await?;
    let app = Authenticator::new(factor["secret"].as_str().unwrap_or_default())?;
    loop {
        let step = step_now()? - 1;
        match lab.admin.post("/second-factor/confirm", &json!({ "code": app.code(step) })).await {
            Ok(_) => return Ok((app, step)),
            // The clock went on to the next step in between.
            Err(_) if step_now()? - 1 != step => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn refused_as(answer: Result<Value, ApiError>) -> String {
    match answer {
        Ok(answer) => format!("not refused: {answer}"),
        Err(error) => error.kind().unwrap_or_default().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_a_code_and_each_code_is_taken_once() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let other = lab.control.log_in(lab.email(), &lab.password).await?;
    let (app, step) = set_up(&lab).await?;
    assert_eq!(lab.admin.get("/second-factor").await?["on"], true);
    assert_eq!(refused_as(other.get("/nodes").await), "unauthorised", "a session without a code lives on");

    let nobody = lab.control.anonymous()?;
    let mut login = json!({ "email": lab.email(), "password": lab.password });
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "code-required");
    login["code"] = "000000000".into();
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "code-wrong");
    login["code"] = app.code(step).into();
    assert_eq!(
        refused_as(nobody.post("/sessions", &login).await),
        "code-wrong",
        "the code that confirmed it"
    );
    login["code"] = app.code(step + 1).into();
    let twice = tokio::join!(nobody.post("/sessions", &login), nobody.post("/sessions", &login));
    let let_in = [twice.0, twice.1].into_iter().filter(Result::is_ok).count();
    assert_eq!(let_in, 1, "logins with one code at the same time");
    login["password"] = "wrong".into();
    login["code"] = app.code(step + 2).into();
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "password-wrong");
    login["password"] = lab.password.as_str().into();
    nobody.post("/sessions", &login).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_session_neither_sets_a_second_factor_up_nor_removes_it() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (stolen, wrong) = (&lab.admin, json!({ "code": "12345" }));
    assert_eq!(refused_as(stolen.post("/second-factor/confirm", &wrong).await), "not-found");
    assert_eq!(refused_as(stolen.post("/second-factor", &json!({})).await), "body");
    let guess = json!({ "password": "a guess", "code": "123456" });
    assert_eq!(
        refused_as(stolen.post("/second-factor", &json!({ "password": "a guess" })).await),
        "password-wrong"
    );

    // A second factor that waits for its first code is not asked for at a login, and cannot be removed.
    let right = json!({ "password": lab.password });
    stolen.post("/second-factor", &right).await?;
    assert_eq!(stolen.get("/second-factor").await?["on"], false);
    assert_eq!(refused_as(stolen.post("/second-factor/confirm", &wrong).await), "code-wrong");
    let mut removal = json!({ "password": lab.password, "code": "123456" });
    assert_eq!(refused_as(stolen.post("/second-factor/remove", &removal).await), "not-found");
    lab.control.log_in(lab.email(), &lab.password).await?;

    let (app, step) = set_up(&lab).await?;
    assert_eq!(refused_as(stolen.post("/second-factor", &right).await), "second-factor");
    assert_eq!(refused_as(stolen.post("/second-factor/remove", &guess).await), "password-wrong");
    assert_eq!(refused_as(stolen.post("/second-factor/remove", &removal).await), "code-wrong");
    removal["code"] = app.code(step + 1).into();
    stolen.post("/second-factor/remove", &removal).await?;
    lab.control.log_in(lab.email(), &lab.password).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_second_factor_is_reset_on_the_machine_itself_and_tokens_have_none() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    set_up(&lab).await?;
    let body = json!({ "name": "script", "permissions": ["read-nodes"] });
    let token = lab.admin.post("/tokens", &body).await?;
    let script = lab.admin.with_token(token["secret"].as_str().unwrap_or_default());
    script.get("/nodes").await?;
    assert_eq!(refused_as(script.get("/second-factor").await), "not-a-session");
    assert!(lab.control.log_in(lab.email(), &lab.password).await.is_err());
    lab.control.run(&["admin", "reset-second-factor", lab.email()]).await?;
    assert_eq!(refused_as(lab.admin.get("/nodes").await), "unauthorised", "sessions outlive the factor");
    lab.control.log_in(lab.email(), &lab.password).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_codes_are_guessed_takes_none_for_a_while() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (app, step) = set_up(&lab).await?;
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    let nobody = lab.control.anonymous()?;
    let mut login = json!({ "email": lab.email(), "password": lab.password, "code": "000000000" });
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "code-wrong");
    let failures: i32 = sqlx::query_scalar("SELECT failures FROM second_factors").fetch_one(&owner).await?;
    assert_eq!(failures, 1);
    // This looks as if many more codes had been guessed, from many addresses.
    sqlx::query("UPDATE second_factors SET failures = 30, failed_at = now()").execute(&owner).await?;
    login["code"] = app.code(step + 1).into();
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "throttled");
    sqlx::query("UPDATE second_factors SET failed_at = now() - interval '301 seconds'")
        .execute(&owner)
        .await?;
    nobody.post("/sessions", &login).await?;
    Ok(())
}
