//! Logging in and out; the second factor; API tokens.

use super::Printer;
use super::named::{self, API_TOKEN};
use super::proof::{CODE, PASSWORD, proven, read_secret};
use crate::arguments::{SecondFactor, Tokens};
use crate::login::Login;
use crate::out::say;
use noderr_cli::Client;
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::{Value, json};
use std::io::IsTerminal as _;

pub(crate) async fn log_in(mut login: Login, client: &Client, email: &str) -> anyhow::Result<()> {
    let password = read_secret(&format!("password for {email}: "))?;
    let mut body = json!({ "email": email, "password": password });
    let mut session = client.post("/sessions", &body).await;
    if let Err(refused) = &session
        && refused.kind() == Some("code-required")
    {
        body["code"] = read_secret(CODE)?.into();
        session = client.post("/sessions", &body).await;
    }
    let session = session?;
    login.token = session.get("token").and_then(Value::as_str).map(str::to_owned);
    login.save()?;
    say(&format!("logged in at {} as {email}", login.url))?;
    if std::env::var_os("NODERR_TOKEN").is_some() {
        eprintln!("NODERR_TOKEN is set, and goes before this login: unset it");
    }
    Ok(())
}

pub(crate) async fn second_factor(
    client: &Client,
    printer: &Printer,
    command: SecondFactor,
) -> anyhow::Result<()> {
    match command {
        SecondFactor::Status => printer.fields(&client.get("/second-factor").await?)?,
        SecondFactor::On => {
            let factor =
                client.post("/second-factor", &json!({ "password": read_secret(PASSWORD)? })).await?;
            if std::io::stdout().is_terminal() {
                print_code(factor["uri"].as_str().unwrap_or_default())?;
            }
            printer.fields(&factor)?;
            let code = read_secret(CODE)?;
            let answer = client.post("/second-factor/confirm", &json!({ "code": code })).await?;
            printer.done(&answer, "every login takes a code from now on; your other sessions have ended")?;
        }
        SecondFactor::Off => {
            let body = json!({ "password": read_secret(PASSWORD)?, "code": read_secret(CODE)? });
            let answer = client.post("/second-factor/remove", &body).await?;
            printer.done(&answer, "a login takes the password alone again")?;
        }
    }
    Ok(())
}

/// Prints a QR code in black on white, whatever the terminal's own colours are: not every camera reads a
/// negative.
fn print_code(content: &str) -> anyhow::Result<()> {
    for line in QrCode::new(content)?.render::<unicode::Dense1x2>().build().lines() {
        say(&format!("\x1b[30;107m{line}\x1b[0m"))?;
    }
    Ok(())
}

/// Ends the remembered login, even if another token was given.
pub(crate) async fn log_out() -> anyhow::Result<()> {
    let Some(login) = Login::load()? else {
        say("nobody is logged in")?;
        return Ok(());
    };
    let ended = login.client()?.delete("/sessions/current").await;
    Login::forget()?;
    match ended {
        Ok(_) => say("logged out")?,
        Err(error) => say(&format!("the login is forgotten; the control plane said: {error}"))?,
    }
    Ok(())
}

pub(crate) async fn tokens(client: &Client, printer: &Printer, command: Tokens) -> anyhow::Result<()> {
    match command {
        Tokens::List => {
            let columns = [
                ("id", "id"),
                ("name", "name"),
                ("permissions", "permissions"),
                ("operator", "operator"),
                ("created", "created_at"),
                ("expires", "expires_at"),
                ("revoked", "revoked_at"),
            ];
            printer.list(client, "/tokens", (None, 1000), &columns).await?;
        }
        Tokens::Create { name, permissions, operator, expires_in_days } => {
            let operator = super::operators::resolve_any(client, operator).await?;
            let body = json!({
                "name": name, "permissions": permissions, "operator": operator, "expires_in_days": expires_in_days,
            });
            let token = proven(client, async || client.post("/tokens", &body).await).await?;
            printer.fields(&token)?;
            if !std::io::stdout().is_terminal() {
                return Ok(());
            }
            eprintln!("the secret is shown this once");
        }
        Tokens::Revoke { token } => {
            let id = named::resolve(client, &API_TOKEN, "/tokens", &token).await?;
            let answer = client.post(&format!("/tokens/{id}/revoke"), &json!({})).await?;
            printer.done(&answer, "revoked")?;
        }
    }
    Ok(())
}
