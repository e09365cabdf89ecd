//! The demo network as people and scripts start it, by the program behind `./dev up`.

use anyhow::{Context as _, ensure};
use noderr_cli::Client;
use noderr_hil::session::Session;
use noderr_hil::{SOON, binary, leftovers, scratch, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

fn hil(folder: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("noderr-hil")?);
    command.args(arguments).arg("--folder").arg(folder).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs `noderr-hil` to its end; returns its output, or fails if it fails.
async fn said(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let done = hil(folder, arguments)?.output().await?;
    let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    ensure!(done.status.success(), "{arguments:?}: {text}");
    Ok(text)
}

fn session_file(folder: &Path) -> PathBuf {
    folder.join("session.json")
}

async fn samples(session: &Session) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(&session.database).await?;
    Ok(sqlx::query_scalar("SELECT count(*) FROM telemetry").fetch_one(&mut connection).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn up_and_down_as_a_person_would() -> anyhow::Result<()> {
    let folder = scratch()?;
    let folder = folder.path();
    let read = || anyhow::Ok(serde_json::from_slice::<Session>(&std::fs::read(session_file(folder))?)?);
    let words = said(folder, &["up", "--detach"]).await?;
    assert!(words.contains("3 boxes are online"), "{words}");
    let first = read()?;
    assert_eq!(first.boxes.len(), 3);
    let before = samples(&first).await?;
    until("telemetry to grow", SOON, || async { Ok((samples(&first).await? > before).then_some(())) })
        .await?;
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(session_file(folder))?.permissions());
    assert_eq!(mode & 0o077, 0, "the admin's password is for nobody else");

    // Only one lab may run in a folder.
    let refused = said(folder, &["up", "--detach"]).await.expect_err("two labs run in one folder");
    assert!(refused.to_string().contains("already"), "{refused}");
    // Things a person may try; the next run must cope with them.
    let api = Client::new(&first.api, &std::fs::read_to_string(&first.ca)?, Some(first.token.clone()))?;
    api.post(&format!("/nodes/{}/revoke", first.boxes[1].id), &json!({ "reason": "tried" })).await?;
    let operator = api.list("/operators", 1).await?;
    let operator = operator[0]["id"].as_str().unwrap_or_default();
    api.post(&format!("/operators/{operator}/suspend"), &json!({})).await?;
    said(folder, &["down"]).await?;
    assert!(leftovers(folder).is_empty() && !session_file(folder).exists());

    // A second run goes on with the first; its keeper is killed, and `down` leaves nothing running.
    let words = said(folder, &["up", "--detach", "--resume"]).await?;
    assert!(words.contains("2 of 3 boxes are online") && words.contains("box-2 is not online"), "{words}");
    let second = read()?;
    let ids = |session: &Session| session.boxes.iter().map(|known| known.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&second), ids(&first));
    kill_process(Pid::from_raw(second.pid.cast_signed()).context("no process")?, Signal::KILL)?;
    until("its keeper to be gone", SOON, || async {
        let open = std::fs::read_dir(format!("/proc/{}/fd", second.pid));
        Ok((!open.is_ok_and(|mut files| files.next().is_some())).then_some(()))
    })
    .await?;
    assert!(!leftovers(folder).is_empty());
    let words = said(folder, &["down"]).await?;
    assert!(words.contains("stopped what an earlier run left"), "{words}");
    assert!(leftovers(folder).is_empty());
    assert!(said(folder, &["down"]).await?.contains("nothing is running"));

    // A run is interrupted while it starts.
    let mut process =
        hil(folder, &["up", "--detach"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    until("the lab to begin", SOON, || async { Ok((!leftovers(folder).is_empty()).then_some(())) }).await?;
    let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it has ended")?;
    kill_process(pid, Signal::INT)?;
    assert!(!process.wait().await?.success());
    until("nothing to be left", SOON, || async { Ok(leftovers(folder).is_empty().then_some(())) }).await
}
