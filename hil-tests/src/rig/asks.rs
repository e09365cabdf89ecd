//! What a box says of itself, asked by the node's own commands.

use super::ProcessRig;
use crate::wait::until;
use anyhow::ensure;
use serde_json::Value;
use std::time::Duration;

impl ProcessRig {
    /// The node's status.
    pub async fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ask(&["status", "--json"]).await?)?)
    }

    /// What the node has made of the releases that it should hold.
    pub async fn releases(&self) -> anyhow::Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.ask(&["releases", "--json"]).await?)?)
    }

    /// Waits until the node says of a release that it is in this state; returns what it says.
    pub async fn release_is(&self, release: &str, state: &str, patience: Duration) -> anyhow::Result<Value> {
        until(&format!("{release} to be {state} on {}", self.name()), patience, || async {
            let all = self.releases().await?;
            match all.iter().find(|said| said["release"] == release) {
                Some(said) if said["state"] == state => Ok(Some(said.clone())),
                _ => Err(anyhow::anyhow!("it says {all:?}")),
            }
        })
        .await
    }

    /// The node's status as text for people.
    pub async fn status_text(&self) -> anyhow::Result<String> {
        self.ask(&["status"]).await
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = self.command().args(arguments).output().await?;
        // 3: it runs and is not well.
        let answered = matches!(done.status.code(), Some(0 | 3));
        ensure!(answered, "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Waits until the status is a certain one.
    pub async fn status_where(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        until(what, patience, || async {
            let status = self.status().await?;
            if holds(&status) { Ok(Some(status)) } else { Err(anyhow::anyhow!("status: {status}")) }
        })
        .await
    }
}
