//! A database that an earlier release left behind is upgraded with all that is in it.

use anyhow::{Context as _, ensure};
use noderr_hil::plane::TestPlane;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Every database that was kept: its migration and its rows.
fn kept() -> anyhow::Result<Vec<(i64, PathBuf)>> {
    let mut found = Vec::new();
    for release in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat"))? {
        let Ok(files) = fs::read_dir(release?.path()) else { continue };
        for file in files {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(number) = name.strip_prefix("database-").and_then(|rest| rest.strip_suffix(".sql")) {
                found.push((number.parse()?, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The migrations that had run, as the database of then remembers them.
fn checksums(rows: &str) -> Vec<String> {
    rows.lines().filter_map(|line| line.strip_prefix("-- migration ")).map(str::to_owned).collect()
}

fn checksums_now(migration: i64) -> Vec<String> {
    let run = noderr_control::MIGRATIONS.iter().filter(|known| known.version <= migration);
    run.map(|known| format!("{} {}", known.version, hex::encode(&*known.checksum))).collect()
}

async fn count(plane: &TestPlane, path: &str) -> anyhow::Result<usize> {
    let page = plane.admin().get(path).await?.expect(200)?;
    Ok(page["items"].as_array().map_or(0, Vec::len))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_database_that_was_kept_is_upgraded_with_all_that_is_in_it() -> anyhow::Result<()> {
    let kept = kept()?;
    ensure!(
        kept.iter().any(|(migration, _)| *migration == 1),
        "the state of the first migration is not kept"
    );
    for (migration, path) in kept {
        let rows = fs::read_to_string(&path)?;
        assert_eq!(
            checksums(&rows),
            checksums_now(migration),
            "a migration was changed after it was shipped"
        );
        let plane =
            TestPlane::upgraded(migration, &rows).await.with_context(|| path.display().to_string())?;
        let admin = plane.admin();
        let nodes = admin.get("/nodes").await?.expect(200)?;
        let nodes = nodes["items"].as_array().context("a page")?;
        let inserts = |table: &str| rows.matches(&format!("INSERT INTO public.{table} ")).count();
        assert_eq!(nodes.len(), inserts("nodes"), "{}", path.display());
        assert_eq!(count(&plane, "/operators").await?, inserts("operators"));
        let (mut samples, mut alerts) = (0, 0);
        for node in nodes {
            alerts +=
                count(&plane, &format!("/nodes/{}/alerts", node["id"].as_str().unwrap_or_default())).await?;
            samples += count(
                &plane,
                &format!("/nodes/{}/telemetry?limit=500", node["id"].as_str().unwrap_or_default()),
            )
            .await?;
        }
        assert_eq!((samples, alerts), (inserts("telemetry"), inserts("alerts")));
        for (path, table) in
            [("/releases", "releases"), ("/channels", "channels"), ("/deployments", "deployments")]
        {
            assert_eq!(count(&plane, path).await?, inserts(table), "{path}");
        }
        let chain = admin.get("/audit/check").await?.expect(200)?;
        assert_eq!(chain["intact"], json!(true), "{chain}");

        // What came later works on what was there.
        let node = nodes.first().and_then(|node| node["id"].as_str()).context("a node")?;
        let once = admin.once("after-the-upgrade");
        let first = once.post(&format!("/nodes/{node}/install-tokens"), &json!({})).await?;
        ensure!(first.status.as_u16() == 201, "{first:?}");
        assert_eq!(count(&plane, "/work").await?, inserts("work"));
    }
    Ok(())
}
