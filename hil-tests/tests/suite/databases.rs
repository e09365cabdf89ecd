//! A PostgreSQL of the operator of the network: made as the guide says, and wrong addresses of it refused at the start.

use crate::lab;
use anyhow::Context as _;
use noderr_hil::{ControlOptions, ControlPlane, Lab, LabOptions};
use sqlx::{AssertSqlSafe, PgPool};

const GUIDE: &str = include_str!("../../../docs/admin.md");

/// The address of another database in the same cluster.
fn in_database(url: &str, name: &str) -> anyhow::Result<String> {
    let cluster = url.strip_suffix("/noderr").with_context(|| format!("{url} names another database"))?;
    Ok(format!("{cluster}/{name}"))
}

/// Starts a control plane beside the first, on a database; returns what it says if it does not start.
async fn starts(lab: &Lab, name: &str, database: &str) -> anyhow::Result<Option<String>> {
    let options = ControlOptions {
        vendor_roots: Some(lab.vendor.roots()?),
        authority: Some(lab.control.authority().to_owned()),
        ..ControlOptions::default()
    };
    let mut plane = ControlPlane::new(&lab.folder().join(name), &options.with("database", database))?;
    let failed = plane.start().await.err();
    plane.kill().await?;
    Ok(failed.map(|error| format!("{error:#}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_by_which_requests_could_do_more_is_refused_at_the_start() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let owner = lab.control.owner_url()?;
    let by = |role: &str| owner.replace("noderr_owner@", &format!("{role}@"));
    let elsewhere = in_database(&by("noderr_api"), "postgres")?;
    for (number, (api, why)) in [
        (owner.clone(), "requests run as the role noderr_api"),
        (by("noderr_system"), "requests run as the role noderr_api"),
        (elsewhere, "of another database than database.url"),
        ("postgres://".to_owned() + &"x".repeat(5) + ":nonsense", "database.api_url is not a PostgreSQL URL"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("url = \"{owner}\"\napi_url = \"{api}\"");
        let said = starts(&lab, &format!("wrong{number}"), &database).await?;
        let said = said.with_context(|| format!("it starts with {api}"))?;
        assert!(said.contains(why), "{api}: {said}");
    }
    let right = format!("url = \"{owner}\"\napi_url = \"{}\"", by("noderr_api"));
    assert_eq!(starts(&lab, "right", &right).await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_made_as_the_guide_says_will_do() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    // Another database in the same cluster: its roles are there already, as with any second network.
    let (_, shown) = GUIDE.split_once("    CREATE ROLE noderr LOGIN").context("the guide shows no role")?;
    let (shown, _) = shown.split_once("\n\n").context("the statements end")?;
    let statements =
        format!("CREATE ROLE noderr LOGIN{shown}").replace("noderr", "guide").replace('…', "secret");
    let superuser = PgPool::connect(&lab.control.owner_url()?).await?;
    for statement in statements.lines() {
        sqlx::query(AssertSqlSafe(statement.trim().to_owned())).execute(&superuser).await?;
    }
    let url = in_database(&lab.control.owner_url()?.replace("noderr_owner@", "guide@"), "guide")?;
    assert_eq!(starts(&lab, "own", &format!("url = \"{url}\"")).await?, None);
    Ok(())
}
