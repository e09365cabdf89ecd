//! A second factor: set up, asked for, taken once, removed, reset.

use super::lab;
use noderr_cli::{ApiError, Client};
use noderr_hil::LabOptions;
use serde_json::{Value, json};
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

/// Sets a second factor up with the code before the present one; the step of that code.
async fn set_up(admin: &Client) -> anyhow::Result<(Authenticator, u64)> {
    let factor = admin.post("/second-factor", &json!({})).await?;
    let app = Authenticator::new(factor["secret"].as_str().unwrap_or_default())?;
    loop {
        let step = step_now()? - 1;
        match admin.post("/second-factor/confirm", &json!({ "code": app.code(step) })).await {
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
async fn a_login_takes_a_code_each_code_is_taken_once_and_removal_takes_one_too() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let other = lab.control.log_in(lab.email(), &lab.password).await?;
    assert_eq!(lab.admin.get("/second-factor").await?["on"], false);
    let wrong = json!({ "code": "12345" });
    assert_eq!(refused_as(lab.admin.post("/second-factor/confirm", &wrong).await), "not-found");
    lab.admin.post("/second-factor", &json!({})).await?;
    assert_eq!(refused_as(lab.admin.post("/second-factor/confirm", &wrong).await), "code-wrong");
    let (app, step) = set_up(&lab.admin).await?;
    assert_eq!(lab.admin.get("/second-factor").await?["on"], true);
    assert_eq!(refused_as(lab.admin.post("/second-factor", &json!({})).await), "second-factor");
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
    let session = nobody.post("/sessions", &login).await?;
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "code-wrong", "a code is taken twice");
    login["password"] = "wrong".into();
    login["code"] = app.code(step + 2).into();
    assert_eq!(refused_as(nobody.post("/sessions", &login).await), "unauthorised");

    // A stolen session does not take the factor away; a code does.
    let admin = nobody.with_token(session["token"].as_str().unwrap_or_default());
    assert_eq!(refused_as(admin.post("/second-factor/remove", &wrong).await), "code-wrong");
    admin.post("/second-factor/remove", &json!({ "code": app.code(step + 2) })).await?;
    lab.control.log_in(lab.email(), &lab.password).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_second_factor_is_reset_on_the_machine_itself_and_tokens_have_none() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    set_up(&lab.admin).await?;
    let body = json!({ "name": "script", "permissions": ["read-nodes"] });
    let token = lab.admin.post("/tokens", &body).await?;
    let script = lab.admin.with_token(token["secret"].as_str().unwrap_or_default());
    script.get("/nodes").await?;
    assert_eq!(refused_as(script.post("/second-factor", &json!({})).await), "not-a-session");
    assert!(lab.control.log_in(lab.email(), &lab.password).await.is_err());
    lab.control.run(&["admin", "reset-second-factor", lab.email()]).await?;
    lab.control.log_in(lab.email(), &lab.password).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_codes_waits() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    set_up(&lab.admin).await?;
    let wrong = json!({ "code": "guess!" });
    for _ in 0..5 {
        assert_eq!(refused_as(lab.admin.post("/second-factor/remove", &wrong).await), "code-wrong");
    }
    assert_eq!(refused_as(lab.admin.post("/second-factor/remove", &wrong).await), "throttled");
    Ok(())
}
