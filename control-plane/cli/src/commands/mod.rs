//! One file for each group of commands.

mod access;
mod audit;
mod evidence;
mod folder;
mod hsm;
mod key_files;
mod keys;
mod named;
mod nodes;
mod operators;
mod proof;
mod published;
mod release;
mod work;

use crate::arguments::{Arguments, Command, Release};
use crate::login::Login;
use crate::out::say;
use crate::table::{Column, harmless_json, print_fields, print_rows};
use noderr_cli::{ApiError, Client};
use serde_json::Value;

/// Prints the result of a command.
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn rows(&self, rows: Vec<Value>, columns: &[Column]) -> anyhow::Result<()> {
        if self.json { self.raw(&Value::Array(rows)) } else { print_rows(&rows, columns) }
    }

    /// Reads a list and prints it: as JSON whole, as a table so many rows as were asked for, or `usual`, and says so if there
    /// are more.
    pub(crate) async fn list(
        &self,
        client: &Client,
        path: &str,
        (asked, usual): (Option<usize>, usize),
        columns: &[Column],
    ) -> anyhow::Result<()> {
        let most = asked.unwrap_or(if self.json { usize::MAX } else { usual });
        let mut rows = client.list(path, most.saturating_add(1)).await?;
        let more = rows.len() > most;
        rows.truncate(most);
        self.rows(rows, columns)?;
        if more && !self.json {
            eprintln!("there are more than {most}; --limit shows more");
        }
        Ok(())
    }

    pub(crate) fn fields(&self, value: &Value) -> anyhow::Result<()> {
        if self.json { self.raw(value) } else { print_fields(value) }
    }

    /// Prints a sentence for people, or the value for scripts.
    pub(crate) fn done(&self, value: &Value, sentence: &str) -> anyhow::Result<()> {
        if self.json { self.raw(value) } else { say(sentence) }
    }

    fn raw(&self, value: &Value) -> anyhow::Result<()> {
        say(&harmless_json(&format!("{value:#}")))
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let printer = Printer { json: arguments.json };
    // What needs no control plane.
    let command = match arguments.command {
        Command::Logout => return access::log_out().await,
        Command::Keys(command) => return keys::run(&printer, command),
        Command::Release(Release::InFolder(command)) => return release::run(&printer, command),
        command => command,
    };
    let login = Login::resolve(&arguments.connection)?;
    let client = login.client()?;
    let elsewhere = Login::load()?.filter(|_| login.token.is_none()).map(|remembered| remembered.url);
    match command {
        Command::Login { email } => access::log_in(login, &client, &email).await,
        Command::Status => status(&client, &printer).await,
        Command::SecondFactor(command) => access::second_factor(&client, &printer, command).await,
        Command::Operators(command) => operators::run(&client, &printer, command).await,
        Command::Nodes(command) => nodes::run(&client, &printer, command).await,
        Command::Tokens(command) => access::tokens(&client, &printer, command).await,
        Command::Tpms(command) => evidence::tpms(&client, &printer, command).await,
        Command::Registers(command) => evidence::registers(&client, &printer, command).await,
        Command::Audit(command) => audit::run(&client, &printer, command).await,
        Command::Work(command) => work::run(&client, &printer, command).await,
        Command::Release(Release::AtControlPlane(command)) => release::ask(&client, &printer, command).await,
        Command::Published(command) => published::published(&client, &printer, command).await,
        Command::Channels(command) => published::channels(&client, &printer, command).await,
        // These were answered before the login was looked up.
        Command::Completion { .. }
        | Command::Logout
        | Command::Keys(_)
        | Command::Release(Release::InFolder(_)) => Ok(()),
    }
    .map_err(|error| advise(error, elsewhere.as_deref()))
}

/// Adds to a refusal what to do about it with this program. `elsewhere` is what the remembered login is for, if it was no use here.
fn advise(error: anyhow::Error, elsewhere: Option<&str>) -> anyhow::Error {
    match (error.downcast_ref::<ApiError>(), elsewhere) {
        (Some(refused), Some(elsewhere)) if refused.kind() == Some("unauthorised") => {
            error.context(format!("the login that is remembered is for {elsewhere}; log in at this URL"))
        }
        (Some(refused), None) if refused.kind() == Some("unauthorised") => {
            error.context("not logged in, or no longer: `noderrctl login EMAIL`, or give a valid --token")
        }
        (Some(refused), _) if refused.kind() == Some("not-a-session") => error.context(
            "this takes a login, and an API token was given: leave --token out and unset NODERR_TOKEN",
        ),
        (Some(ApiError::Unreachable { why, .. }), _)
            if why.contains("UnknownIssuer") || why.contains("BadSignature") =>
        {
            error.context(
                "the server there is not of this network; is --ca its root certificate (ca.pem)? If the \
                 network is new, `noderrctl login --ca … EMAIL` again",
            )
        }
        _ => error,
    }
}

async fn status(client: &Client, printer: &Printer) -> anyhow::Result<()> {
    printer.fields(&client.get("/ready").await?)?;
    Ok(())
}

/// The query string of the parameters that have a value.
fn query(pairs: &[(&str, Option<String>)]) -> String {
    let given: Vec<_> = pairs
        .iter()
        .filter_map(|(name, value)| {
            let value = value.as_ref()?;
            let encoded: String = value
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                        char::from(byte).to_string()
                    }
                    other => format!("%{other:02X}"),
                })
                .collect();
            Some(format!("{name}={encoded}"))
        })
        .collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_what_was_given_and_nothing_else() {
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(
            query(&[("a", Some("x@y z".to_owned())), ("b", None), ("c", Some("1".to_owned()))]),
            "?a=x%40y%20z&c=1"
        );
    }
}
