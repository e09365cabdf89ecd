//! When the first of what is signed ends, in time to sign it anew.

use jiff::Timestamp;
use noderr_releases::{Metadata as _, ReleaseFolder, Root, Targets, listed};
use std::time::Duration;

/// As long before the end as it takes to bring those together who sign.
const SOON: Duration = Duration::from_secs(45 * 86_400);

/// The roles of a folder that end first, of those that are in force.
pub(super) struct FirstEnd {
    pub(super) roles: Vec<String>,
    pub(super) at: Timestamp,
}

impl FirstEnd {
    /// That of a folder; none if nothing is in force.
    pub(super) fn of(releases: &ReleaseFolder) -> anyhow::Result<Option<Self>> {
        let mut first: Option<Self> = None;
        for role in releases.offline_roles()? {
            let at = match role.as_str() {
                "root" => releases.newest::<Root>(&role)?.map(|root| root.says().expires()),
                _ => releases.newest::<Targets>(&role)?.map(|targets| targets.says().expires()),
            };
            let Some(at) = at else { continue };
            match &mut first {
                Some(first) if first.at == at => first.roles.push(role),
                Some(first) if first.at < at => {}
                _ => first = Some(Self { roles: vec![role], at }),
            }
        }
        Ok(first)
    }

    /// Whether it is time to do something.
    pub(super) fn is_soon(&self) -> bool {
        self.at < Timestamp::now() + SOON
    }

    pub(super) fn in_words(&self) -> String {
        let ends = if self.roles.len() == 1 { "ends" } else { "end" };
        let soon = if self.is_soon() { ", which is soon: `noderrctl release renew`, and sign" } else { "" };
        format!("{} {ends} first, at {}{soon}", listed(&self.roles), self.at)
    }
}
