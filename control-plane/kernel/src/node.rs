//! What features do about nodes: what they hear of them, what they say at a hello, which records they store.

use async_trait::async_trait;
use noderr_protocol::{Lane, NodeId, Record, Up, UpKind};
use sqlx::PgConnection;
use std::pin::Pin;

type Doing<'a> = Pin<Box<dyn Future<Output = sqlx::Result<()>> + Send + 'a>>;

/// What a feature does with a kind of message.
pub struct Hears<S> {
    /// The kind.
    pub kind: UpKind,
    /// What it does.
    pub hear: for<'a> fn(&'a S, &'a NodeId, &'a Up) -> Doing<'a>,
}

/// What a feature says to a node that has said hello.
pub type Greets<S> = for<'a> fn(&'a S, &'a NodeId) -> Doing<'a>;

/// Which records a feature stores.
#[derive(Debug, Clone, Copy)]
pub struct Takes {
    /// Kinds of payloads, as their envelopes name them.
    pub kinds: &'static [u8],
    /// Makes what gathers the records of one transaction.
    pub sink: fn() -> Box<dyn Sink>,
}

/// Gathers the records of one transaction, and stores them in it.
#[async_trait]
pub trait Sink: Send {
    /// Takes a record; `false` if it cannot be read, and is to be kept as it came.
    fn take(&mut self, node: &NodeId, lane: Lane, record: &Record) -> bool;

    /// Stores what was taken, in the transaction that commits the marks.
    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()>;
}

/// All of it, of all features, bound to their states.
#[derive(Default)]
pub struct NodeHooks {
    hears: Vec<(UpKind, BoundHears)>,
    greets: Vec<BoundGreets>,
    takes: Vec<Takes>,
}

type BoundHears = Box<dyn Fn(NodeId, Up) -> Doing<'static> + Send + Sync>;
type BoundGreets = Box<dyn Fn(NodeId) -> Doing<'static> + Send + Sync>;

impl NodeHooks {
    pub(crate) const fn none() -> Self {
        Self { hears: Vec::new(), greets: Vec::new(), takes: Vec::new() }
    }

    /// Binds what a feature does about nodes to its state.
    pub(crate) fn bind<S: Clone + Send + Sync + 'static>(
        &mut self,
        hears: &'static [Hears<S>],
        greets: Option<Greets<S>>,
        takes: &[Takes],
        state: &S,
    ) {
        for Hears { kind, hear } in hears {
            let state = state.clone();
            let bound = move |node: NodeId, message: Up| -> Doing<'static> {
                let state = state.clone();
                Box::pin(async move { hear(&state, &node, &message).await })
            };
            self.hears.push((*kind, Box::new(bound)));
        }
        if let Some(greet) = greets {
            let state = state.clone();
            let bound = move |node: NodeId| -> Doing<'static> {
                let state = state.clone();
                Box::pin(async move { greet(&state, &node).await })
            };
            self.greets.push(Box::new(bound));
        }
        self.takes.extend(takes);
    }

    /// Tells every feature that hears this kind of message; `false` if none does.
    pub async fn hear(&self, node: &NodeId, message: &Up) -> sqlx::Result<bool> {
        let mut heard = false;
        for (_, hear) in self.hears.iter().filter(|(kind, _)| *kind == message.kind()) {
            hear(*node, message.clone()).await?;
            heard = true;
        }
        Ok(heard)
    }

    /// Lets every feature say what it has to say to a node that has said hello.
    pub async fn greet(&self, node: &NodeId) -> sqlx::Result<()> {
        for greet in &self.greets {
            greet(*node).await?;
        }
        Ok(())
    }

    /// Sinks for one transaction, and which kinds of payloads each takes.
    pub fn sinks(&self) -> Vec<(&'static [u8], Box<dyn Sink>)> {
        self.takes.iter().map(|takes| (takes.kinds, (takes.sink)())).collect()
    }
}
