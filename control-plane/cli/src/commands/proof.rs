//! A fresh proof that the person at the keyboard is still the one who logged in.

use anyhow::ensure;
use noderr_cli::{ApiError, Client};
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _};

pub(super) const PASSWORD: &str = "your password: ";
const PROOF: &str = "/sessions/current/proof";
pub(super) const CODE: &str = "code of your authenticator: ";

/// Makes a call that may need a fresh proof; asks for password and code, and calls again, if it does.
pub(super) async fn proven<T>(
    client: &Client,
    call: impl AsyncFn() -> Result<T, ApiError>,
) -> anyhow::Result<T> {
    match call().await {
        Err(refused) if refused.kind() == Some("proof-required") => {
            let mut proof = json!({ "password": read_secret(PASSWORD)? });
            let mut proved = client.post(PROOF, &proof).await;
            if let Err(refused) = &proved
                && refused.kind() == Some("code-required")
            {
                proof["code"] = read_secret(CODE)?.into();
                proved = client.post(PROOF, &proof).await;
            }
            proved?;
            Ok(call().await?)
        }
        answered => Ok(answered?),
    }
}

/// Reads a secret: from the terminal without an echo, or a line from a pipe.
pub(super) fn read_secret(prompt: &str) -> anyhow::Result<String> {
    let secret = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(prompt)?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    ensure!(!secret.is_empty(), "nothing was given for `{}`", prompt.trim_end_matches([':', ' ']));
    Ok(secret)
}
