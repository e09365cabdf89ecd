//! The API, as people and scripts use it over HTTPS.

use crate::raw::{Caller, get, refused_as};
use crate::{SOON, lab};
use noderr_hil::{ControlOptions, ControlPlane, LabOptions, binary, leftovers, scratch, until};
use serde_json::json;
use sqlx::PgPool;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn guessing_takes_longer_and_longer() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let nobody = lab.control.anonymous()?;
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
    // The new password is set, but not committed, while the login checks the old password.
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
async fn metrics_are_named_and_explained() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let metrics = Caller::new(&lab, [127, 0, 0, 1])?.ask(&get("/metrics")).await?;
    assert!(metrics.contains("\nnoderr_broker_sessions 0\n"), "{metrics}");
    assert!(metrics.contains("# HELP noderr_broker_sessions MQTT sessions"), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_the_database_answers() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let stranger = lab.control.anonymous()?;
    stranger.get("/ready").await?;
    lab.control.freeze_database(true)?;
    let refused = stranger.get("/ready").await.err().and_then(|error| error.kind().map(str::to_owned));
    lab.control.freeze_database(false)?;
    assert_eq!(refused.as_deref(), Some("database"));
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
        (post(&format!("\"{}\"", "x".repeat(65 << 10)), json), 413, "too-large"),
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
    let checked = Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile"])
        .arg(lab.control.root_file())
        .arg(out.join("server.pem"))
        .output()?;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let again = lab.control.run(&arguments).await.expect_err("a key in use is overwritten");
    assert!(again.to_string().contains("server."), "{again}");
    // What cannot be written is not issued, and is not on record as issued.
    let issued =
        "SELECT count(*) FROM audit_log WHERE action = 'certificate.issue' AND subject = 'localhost'";
    assert_eq!(sqlx::query_scalar::<_, i64>(issued).fetch_one(&lab.database).await?, 1);
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

#[test]
fn what_cannot_be_printed_is_a_failure_unless_nobody_reads_on() -> anyhow::Result<()> {
    for (program, arguments) in [("noderr-control", &["example"][..]), ("noderrctl", &["completion", "bash"])]
    {
        let run = |out: File| {
            Command::new(binary(program)?).args(arguments).stdout(out).output().map_err(anyhow::Error::from)
        };
        let full = run(File::options().write(true).open("/dev/full")?)?;
        assert_eq!(full.status.code(), Some(1), "{program}");
        assert!(String::from_utf8_lossy(&full.stderr).contains("No space left"), "{program}");
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let unread = run(File::from(OwnedFd::from(writer)))?;
        assert_eq!((unread.status.code(), unread.stderr.len()), (Some(0), 0), "{program}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_neither_goes_nor_becomes_something_less() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    for arguments in [&["admin", "remove", lab.email()][..], &["admin", "roles", lab.email(), "auditor"]] {
        let refused = lab.control.run(arguments).await.expect_err("nobody is left who may do everything");
        assert!(refused.to_string().contains("last owner"), "{refused}");
    }
    let act = json!({ "name": "Still", "email": "still@demo.invalid" });
    lab.admin.post("/operators", &act).await?;
    Ok(())
}
