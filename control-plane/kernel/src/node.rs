//! What features do about nodes: what they hear of them, what they say at a hello, which records they store.

use async_trait::async_trait;
use noderr_protocol::{Lane, NodeId, Record, Section, Up, UpKind};
use sqlx::PgConnection;
use std::pin::Pin;

type Doing<'a, T = ()> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'a>>;

/// What a feature does with a kind of message.
pub struct Hears<S> {
    /// The kind.
    pub kind: UpKind,
    /// What it does.
    pub hear: for<'a> fn(&'a S, &'a NodeId, &'a Up) -> Doing<'a>,
}

/// What a feature says to a node that has said hello.
pub type Greets<S> = for<'a> fn(&'a S, &'a NodeId) -> Doing<'a>;

/// What a feature wants a node to be: its section of the desired state, if there is one for this node. Asked in the
/// transaction that numbers the document: a section that differs from the one sent last makes a new version.
pub type Wants<S> = for<'a> fn(&'a S, &'a mut PgConnection, &'a NodeId) -> Doing<'a, Option<Section>>;

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

/// What a feature does about nodes. Declare it with what there is: `DoesAboutNodes { greets, ..DoesAboutNodes::nothing() }`.
pub struct DoesAboutNodes<S: 'static> {
    /// What it does with their messages.
    pub hears: &'static [Hears<S>],
    /// What it says to a node that has said hello.
    pub greets: Option<Greets<S>>,
    /// What it wants a node to be.
    pub wants: Option<Wants<S>>,
    /// Which records it stores.
    pub records: &'static [Takes],
}

impl<S> DoesAboutNodes<S> {
    /// Nothing.
    pub const fn nothing() -> Self {
        Self { hears: &[], greets: None, wants: None, records: &[] }
    }
}

/// All of it, of all features, bound to their states.
#[derive(Default)]
pub struct NodeHooks {
    hears: Vec<(UpKind, BoundHears)>,
    greets: Vec<BoundGreets>,
    wants: Vec<BoundWants>,
    takes: Vec<Takes>,
}

type BoundHears = Box<dyn Fn(NodeId, Up) -> Doing<'static> + Send + Sync>;
type BoundGreets = Box<dyn Fn(NodeId) -> Doing<'static> + Send + Sync>;
type BoundWants =
    Box<dyn for<'a> Fn(&'a mut PgConnection, &'a NodeId) -> Doing<'a, Option<Section>> + Send + Sync>;

fn bound_wants<S: Clone + Send + Sync + 'static>(want: Wants<S>, state: S) -> BoundWants {
    Box::new(move |connection, node| {
        let state = state.clone();
        Box::pin(async move { want(&state, connection, node).await })
    })
}

impl NodeHooks {
    pub(crate) const fn none() -> Self {
        Self { hears: Vec::new(), greets: Vec::new(), wants: Vec::new(), takes: Vec::new() }
    }

    /// Binds what a feature does about nodes to its state.
    pub(crate) fn bind<S: Clone + Send + Sync + 'static>(
        &mut self,
        does: &'static DoesAboutNodes<S>,
        state: &S,
    ) {
        for Hears { kind, hear } in does.hears {
            let state = state.clone();
            let bound = move |node: NodeId, message: Up| -> Doing<'static> {
                let state = state.clone();
                Box::pin(async move { hear(&state, &node, &message).await })
            };
            self.hears.push((*kind, Box::new(bound)));
        }
        if let Some(greet) = does.greets {
            let state = state.clone();
            let bound = move |node: NodeId| -> Doing<'static> {
                let state = state.clone();
                Box::pin(async move { greet(&state, &node).await })
            };
            self.greets.push(Box::new(bound));
        }
        if let Some(want) = does.wants {
            self.wants.push(bound_wants(want, state.clone()));
        }
        self.takes.extend(does.records);
    }

    /// The sections of a node's desired state, of all features.
    pub async fn sections(&self, connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<Section>> {
        let mut sections = Vec::new();
        for want in &self.wants {
            sections.extend(want(connection, node).await?);
        }
        Ok(sections)
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
