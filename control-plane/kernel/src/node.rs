//! What features do about nodes: which messages they hear, what they send at a hello, which sections they
//! want, which records they store.

use async_trait::async_trait;
use noderr_protocol::{Lane, NodeId, Record, Section, Up, UpKind};
use sqlx::PgConnection;
use std::pin::Pin;

type Doing<'a, T = ()> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'a>>;

/// What a feature does with a kind of message.
pub struct Hears<S> {
    /// The kind.
    pub kind: UpKind,
    /// The function that is given the message.
    pub hear: for<'a> fn(&'a S, &'a NodeId, &'a Up) -> Doing<'a>,
}

/// Sends what a feature has to say to a node that has said hello.
pub type Greets<S> = for<'a> fn(&'a S, &'a NodeId) -> Doing<'a>;

/// What a feature wants a node to be: its section of the desired state, if there is one for this node. Asked in the
/// transaction that numbers the document: a section that differs from the one sent last makes a new version.
pub struct Wants<S> {
    /// The kind of the section.
    pub kind: u16,
    /// Makes the section.
    pub want: Want<S>,
}

/// Makes a section.
pub type Want<S> = for<'a> fn(&'a S, &'a mut PgConnection, &'a NodeId) -> Doing<'a, Option<Section>>;

/// The records that a feature stores.
#[derive(Debug, Clone, Copy)]
pub struct RecordSink {
    /// Kinds of payloads, as their envelopes name them.
    pub kinds: &'static [u8],
    /// Makes the sink for the records of one transaction.
    pub sink: fn() -> Box<dyn Sink>,
}

/// Gathers the records of one transaction, and stores them in it.
#[async_trait]
pub trait Sink: Send {
    /// Takes a record; `false` if the record cannot be read and must be kept as it came.
    fn take(&mut self, node: &NodeId, lane: Lane, record: &Record) -> bool;

    /// Stores the records that were taken, in the transaction that commits the marks.
    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()>;
}

/// What a feature does about nodes. A declaration names only what there is:
/// `NodeFeature { greets, ..NodeFeature::nothing() }`.
pub struct NodeFeature<S: 'static> {
    /// The kinds of messages that the feature hears.
    pub hears: &'static [Hears<S>],
    /// What the feature sends to a node that has said hello.
    pub greets: Option<Greets<S>>,
    /// The feature's section of the desired state.
    pub wants: Option<Wants<S>>,
    /// The records that the feature stores.
    pub records: &'static [RecordSink],
    /// The root of releases that a node is given with its papers.
    pub release_root: Option<fn(&S) -> Option<String>>,
}

impl<S> NodeFeature<S> {
    /// A feature that does nothing about nodes.
    pub const fn nothing() -> Self {
        Self { hears: &[], greets: None, wants: None, records: &[], release_root: None }
    }
}

/// What all features do about nodes, bound to the states of their areas.
#[derive(Default)]
pub struct NodeHooks {
    hears: Vec<(UpKind, BoundHears)>,
    greets: Vec<BoundGreets>,
    wants: Vec<(u16, BoundWants)>,
    takes: Vec<RecordSink>,
    release_root: Option<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

type BoundHears = Box<dyn Fn(NodeId, Up) -> Doing<'static> + Send + Sync>;
type BoundGreets = Box<dyn Fn(NodeId) -> Doing<'static> + Send + Sync>;
type BoundWants =
    Box<dyn for<'a> Fn(&'a mut PgConnection, &'a NodeId) -> Doing<'a, Option<Section>> + Send + Sync>;

fn bound_wants<S: Clone + Send + Sync + 'static>(want: Want<S>, state: S) -> BoundWants {
    Box::new(move |connection, node| {
        let state = state.clone();
        Box::pin(async move { want(&state, connection, node).await })
    })
}

impl NodeHooks {
    pub(crate) const fn none() -> Self {
        Self {
            hears: Vec::new(),
            greets: Vec::new(),
            wants: Vec::new(),
            takes: Vec::new(),
            release_root: None,
        }
    }

    /// Binds what a feature does about nodes to its state.
    pub(crate) fn bind<S: Clone + Send + Sync + 'static>(
        &mut self,
        does: &'static NodeFeature<S>,
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
        if let Some(Wants { kind, want }) = &does.wants {
            self.wants.push((*kind, bound_wants(*want, state.clone())));
        }
        self.takes.extend(does.records);
        if let Some(root) = does.release_root {
            let state = state.clone();
            self.release_root = Some(Box::new(move || root(&state)));
        }
    }

    /// The sections of a node's desired state, of all features.
    pub async fn sections(&self, connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Vec<Section>> {
        let mut sections = Vec::new();
        for (_, want) in &self.wants {
            sections.extend(want(connection, node).await?);
        }
        Ok(sections)
    }

    /// The kinds of sections that a feature of this version makes.
    pub fn wanted_kinds(&self) -> impl Iterator<Item = u16> {
        self.wants.iter().map(|(kind, _)| *kind)
    }

    /// Gives a message to every feature that hears its kind; `false` if no feature does.
    pub async fn hear(&self, node: &NodeId, message: &Up) -> sqlx::Result<bool> {
        let mut heard = false;
        for (_, hear) in self.hears.iter().filter(|(kind, _)| *kind == message.kind()) {
            hear(*node, message.clone()).await?;
            heard = true;
        }
        Ok(heard)
    }

    /// Lets every feature send what it has to say to a node that has said hello.
    pub async fn greet(&self, node: &NodeId) -> sqlx::Result<()> {
        for greet in &self.greets {
            greet(*node).await?;
        }
        Ok(())
    }

    /// The root of releases that a node is given with its papers, if this network has releases.
    pub fn release_root(&self) -> Option<String> {
        self.release_root.as_ref().and_then(|root| root())
    }

    /// New sinks for one transaction, each with the kinds of payloads that it takes.
    pub fn sinks(&self) -> Vec<(&'static [u8], Box<dyn Sink>)> {
        self.takes.iter().map(|takes| (takes.kinds, (takes.sink)())).collect()
    }
}
