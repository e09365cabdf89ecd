//! `noderrctl`: the command line for admins. Tables for people, `--json` for scripts.

mod arguments;
mod commands;
mod login;
mod out;
mod table;

use arguments::{Arguments, Command};
use clap::{CommandFactory as _, Parser as _};
use noderr_cli::ApiError;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Completion { shell } = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "noderrctl", &mut script);
        return code(out::write(&String::from_utf8_lossy(&script)).map_err(anyhow::Error::from));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(commands::run(arguments)));
    code(result)
}

/// Says what went wrong, if something did.
fn code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Folders and servers of others have a say in what goes wrong.
            let said: Vec<_> = format!("{error:#}").lines().map(table::harmless).collect();
            eprintln!("noderrctl: {}{}", said.join("\n  "), hint(&error));
            code_of(&error)
        }
    }
}

/// A token in the environment goes before a login, and may do less.
fn hint(error: &anyhow::Error) -> &'static str {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<ApiError>());
    let is_about_rights = refused.and_then(ApiError::kind).is_some_and(|kind| kind == "permission");
    if is_about_rights && std::env::var_os("NODERR_TOKEN").is_some() {
        "; NODERR_TOKEN goes before a login: unset it to act with yours"
    } else {
        ""
    }
}

/// What scripts learn from a failure.
fn code_of(error: &anyhow::Error) -> ExitCode {
    let known = error.chain().find_map(|cause| cause.downcast_ref::<ApiError>());
    match known {
        Some(ApiError::Refused { .. }) => ExitCode::from(3),
        Some(ApiError::Unreachable { .. }) => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}
