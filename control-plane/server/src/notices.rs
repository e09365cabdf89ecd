//! What one instance tells the others through PostgreSQL: that something about a node has changed. The notice says
//! only what to look at; the truth is read from the database.

use crate::app::App;
use crate::features::{attestation, nodes};
use noderr_protocol::NodeId;
use sqlx::postgres::PgListener;
use sqlx::{Executor, Postgres};
use std::time::Duration;

const CHANNEL: &str = "noderr";
const PAUSE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A node's desired state.
    Desired(NodeId),
    /// A node's certificates were voided: it was revoked or unbound, or it has enrolled anew.
    Voided(NodeId),
    /// A challenge waits for a node.
    Challenge(NodeId),
    /// An operator was suspended, or is in good standing again.
    Standing,
}

impl Notice {
    fn text(self) -> String {
        match self {
            Self::Desired(node) => format!("desired {node}"),
            Self::Voided(node) => format!("voided {node}"),
            Self::Challenge(node) => format!("challenge {node}"),
            Self::Standing => "standing".to_owned(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "standing" {
            return Some(Self::Standing);
        }
        let (kind, node) = text.split_once(' ')?;
        let node = node.parse().ok()?;
        match kind {
            "desired" => Some(Self::Desired(node)),
            "voided" => Some(Self::Voided(node)),
            "challenge" => Some(Self::Challenge(node)),
            _ => None,
        }
    }
}

/// Tells every instance, this one too, once the transaction commits.
pub(crate) async fn send<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    notice: Notice,
) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, notice.text()).execute(executor).await?;
    Ok(())
}

/// Listens and acts, for ever. Whatever was missed while the connection was down is looked up after it is back.
pub(crate) async fn listen(app: App) {
    loop {
        if let Err(error) = listen_once(&app).await {
            tracing::warn!(%error, "notices are not heard");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen_once(app: &App) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(app.database.system()).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    catch_up(app).await?;
    loop {
        // A connection that died without a word says nothing for ever: look around now and then regardless.
        let Ok(heard) = tokio::time::timeout(LOOK_EVERY, listener.try_recv()).await else {
            catch_up(app).await?;
            continue;
        };
        match heard? {
            Some(notification) => match Notice::parse(notification.payload()) {
                Some(notice) => act(app, notice).await?,
                None => tracing::warn!(payload = notification.payload(), "a notice is not understood"),
            },
            // The connection was lost and is back.
            None => catch_up(app).await?,
        }
    }
}

async fn act(app: &App, notice: Notice) -> sqlx::Result<()> {
    match notice {
        Notice::Voided(node) => {
            if let Some(broker) = app.broker() {
                broker.disconnect(&node);
            }
            nodes::publish_revocations(app).await
        }
        Notice::Desired(node) if is_ours(app, &node) => nodes::send_desired(app, &node).await,
        Notice::Challenge(node) if is_ours(app, &node) => attestation::send_open_challenge(app, &node).await,
        Notice::Desired(_) | Notice::Challenge(_) => Ok(()),
        Notice::Standing => catch_up(app).await,
    }
}

fn is_ours(app: &App, node: &NodeId) -> bool {
    app.broker().is_some_and(|broker| broker.attached().is_none_or(|nodes| nodes.contains(node)))
}

/// Everything a notice might have said about the nodes connected here.
async fn catch_up(app: &App) -> sqlx::Result<()> {
    nodes::publish_revocations(app).await?;
    let Some(attached) = app.broker().and_then(|broker| broker.attached()) else { return Ok(()) };
    for node in nodes::unwelcome_among(app, &attached).await? {
        if let Some(broker) = app.broker() {
            broker.disconnect(&node);
        }
    }
    for node in nodes::behind_among(app, &attached).await? {
        nodes::send_desired(app, &node).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_the_trip() {
        let node = NodeId::from_bytes([3; 32]);
        for notice in [Notice::Desired(node), Notice::Voided(node), Notice::Challenge(node), Notice::Standing]
        {
            assert_eq!(Notice::parse(&notice.text()), Some(notice));
        }
        assert_eq!(Notice::parse("voided everyone"), None);
    }
}
