//! `noderr-node releases`: which releases the running node holds, fetches or refuses.

use super::status::ask;
use crate::status::{ReleaseShown, Standing};
use std::path::Path;
use std::process::ExitCode;

/// For scripts: the node does not hold all that it should.
const NOT_ALL: u8 = 3;

pub(crate) fn releases(path: &Path, json: bool) -> anyhow::Result<(String, ExitCode)> {
    let (status, _) = ask(path)?;
    let is_all = status.releases.iter().all(|release| release.state == Standing::Held);
    let code = if is_all { ExitCode::SUCCESS } else { NOT_ALL.into() };
    if json {
        return Ok((format!("{}\n", serde_json::to_string_pretty(&status.releases)?), code));
    }
    let mut said = String::new();
    if let Some(found) = &status.stick {
        said += &format!("stick: {found}\n");
    }
    if status.releases.is_empty() {
        return Ok((said + "this node is not told to hold any release\n", code));
    }
    for ReleaseShown { release, state, detail, path } in &status.releases {
        said += &format!("{release}  {}", state.as_str());
        if !detail.is_empty() {
            said += &format!("  {detail}");
        }
        said += "\n";
        if let Some(path) = path {
            said += &format!("    {}\n", path.display());
        }
    }
    said += &format!("{} KiB have come in this month\n", status.releases_month_bytes / 1024);
    Ok((said, code))
}
