//! Where a message goes: `{prefix}/{node id}/{up|down}/{kind}`. The fence of the broker is built on this grammar.

use crate::{DownKind, NodeId, UpKind};

/// Builds and reads topics under one prefix (`/tenants` unless configured otherwise).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self { prefix: Self::DEFAULT_PREFIX.to_owned() }
    }
}

impl Topics {
    /// The prefix of a network that has set no other.
    pub const DEFAULT_PREFIX: &str = "/tenants";

    /// Takes a prefix that starts with `/`, does not end with `/`, and holds no wildcard.
    pub fn new(prefix: &str) -> Option<Self> {
        let plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b));
        let valid = prefix.starts_with('/') && !prefix.ends_with('/') && plain;
        valid.then(|| Self { prefix: prefix.to_owned() })
    }

    /// Where `node` publishes messages of `kind`.
    pub fn up(&self, node: &NodeId, kind: UpKind) -> String {
        format!("{}/{node}/up/{}", self.prefix, kind.as_str())
    }

    /// Where `node` hears messages of `kind`.
    pub fn down(&self, node: &NodeId, kind: DownKind) -> String {
        format!("{}/{node}/down/{}", self.prefix, kind.as_str())
    }

    /// The one filter a node subscribes to.
    pub fn down_filter(&self, node: &NodeId) -> String {
        format!("{}/{node}/down/#", self.prefix)
    }

    /// The filter by which the control plane hears every node of an external broker.
    pub fn all_up_filter(&self) -> String {
        format!("{}/+/up/#", self.prefix)
    }

    /// The filter by which a front end hears everything meant for its nodes.
    pub fn all_down_filter(&self) -> String {
        format!("{}/+/down/#", self.prefix)
    }

    /// A topic under the prefix that belongs to no node.
    pub fn beside(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    /// Reads an up topic; `None` for anything that is not exactly an up topic.
    pub fn parse_up(&self, topic: &str) -> Option<(NodeId, UpKind)> {
        let (node, direction, kind) = self.split(topic)?;
        (direction == "up").then_some(())?;
        Some((node, UpKind::from_level(kind)?))
    }

    /// The node of an up topic of whatever kind: a newer node may use kinds that this build does not know.
    pub fn up_of(&self, topic: &str) -> Option<NodeId> {
        let (node, direction, kind) = self.split(topic)?;
        let plain = (1..=32).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        (direction == "up" && plain).then_some(node)
    }

    /// Reads a down topic; `None` for anything that is not exactly a down topic.
    pub fn parse_down(&self, topic: &str) -> Option<(NodeId, DownKind)> {
        let (node, direction, kind) = self.split(topic)?;
        (direction == "down").then_some(())?;
        Some((node, DownKind::from_level(kind)?))
    }

    fn split<'a>(&self, topic: &'a str) -> Option<(NodeId, &'a str, &'a str)> {
        let mut levels = topic.strip_prefix(self.prefix.as_str())?.strip_prefix('/')?.split('/');
        let node = levels.next()?.parse().ok()?;
        let (direction, kind) = (levels.next()?, levels.next()?);
        levels.next().is_none().then_some((node, direction, kind))
    }
}
