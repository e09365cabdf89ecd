//! Notices: through PostgreSQL one instance tells the others that something has changed. A notice says only
//! what to look at; the truth is read from the database.

use sqlx::{Executor as _, PgConnection};
use tokio::sync::broadcast;

/// The channel of PostgreSQL that carries notices.
pub(crate) const CHANNEL: &str = "noderr";
/// How many notices a follower may be behind.
const FOLLOWERS: usize = 1024;

/// A kind of change. The name travels in the notice; the declaration of the topic says what its keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic(pub &'static str);

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The name of the topic.
    pub topic: String,
    /// The key of the thing that changed; empty where the topic has no keys.
    pub key: String,
}

impl Notice {
    pub(crate) fn parse(text: &str) -> Self {
        let (topic, key) = text.split_once(' ').unwrap_or((text, ""));
        Self { topic: topic.to_owned(), key: key.to_owned() }
    }
}

/// Sends a notice to every instance, the sender too, once the transaction commits.
pub async fn notify(connection: &mut PgConnection, topic: &Topic, key: &str) -> sqlx::Result<()> {
    let text = format!("{} {key}", topic.0);
    connection.execute(sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, text.trim_end())).await?;
    Ok(())
}

/// Hands the notices that this instance hears to its followers, such as the workers of queues.
#[derive(Debug, Clone)]
pub struct NoticeBus(broadcast::Sender<Notice>);

impl Default for NoticeBus {
    fn default() -> Self {
        Self(broadcast::channel(FOLLOWERS).0)
    }
}

impl NoticeBus {
    /// Follows all notices from now on. A follower that falls behind is told so, and must look at the
    /// database.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }

    /// Hands a notice to all followers.
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
