//! What one instance tells the others through PostgreSQL: that something has changed. A notice says only what to look at;
//! the truth is read from the database.

use sqlx::{Executor as _, PgConnection};
use tokio::sync::broadcast;

/// Where PostgreSQL carries notices.
pub(crate) const CHANNEL: &str = "noderr";
/// Notices that a follower may be behind.
const FOLLOWERS: usize = 1024;

/// A kind of change. The name travels; whoever declares the topic says what its keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic(pub &'static str);

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What kind of thing.
    pub topic: String,
    /// Which one; empty where the topic has no keys.
    pub key: String,
}

impl Notice {
    pub(crate) fn parse(text: &str) -> Self {
        let (topic, key) = text.split_once(' ').unwrap_or((text, ""));
        Self { topic: topic.to_owned(), key: key.to_owned() }
    }
}

/// Tells every instance, this one too, once the transaction commits.
pub async fn notify(connection: &mut PgConnection, topic: &Topic, key: &str) -> sqlx::Result<()> {
    let text = format!("{} {key}", topic.0);
    connection.execute(sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, text.trim_end())).await?;
    Ok(())
}

/// Where notices can be followed, as by a browser that looks on.
#[derive(Debug, Clone)]
pub struct NoticeBus(broadcast::Sender<Notice>);

impl Default for NoticeBus {
    fn default() -> Self {
        Self(broadcast::channel(FOLLOWERS).0)
    }
}

impl NoticeBus {
    /// Everything from now on. Whoever falls behind is told so and must look for themselves.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }

    /// Hands a notice to whoever follows.
    pub(crate) fn publish(&self, notice: Notice) {
        // Nobody may be following.
        _ = self.0.send(notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_a_topic_and_perhaps_a_key() {
        let notice = |topic: &str, key: &str| Notice { topic: topic.to_owned(), key: key.to_owned() };
        assert_eq!(Notice::parse("voided ab"), notice("voided", "ab"));
        assert_eq!(Notice::parse("standing"), notice("standing", ""));
    }
}
