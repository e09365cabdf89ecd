//! The desired state: adopted at once, kept on the disk, and handed to the parts by section; and the actual
//! state, which is what the parts have made of the sections.

use noderr_part::Document;
use noderr_protocol::{
    ActualState, DecodeError, DesiredState, KnownSection, Phase, Section, SectionBody, SectionReport, Text,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The desired and the actual state, shared by the parts; cheap to clone.
#[derive(Clone)]
pub(crate) struct Desired {
    /// The sections that a part of this build reads.
    knows: &'static [KnownSection],
    newest: watch::Sender<Arc<DesiredState>>,
    /// The sections that the parts last did, by kind: what stays in force while a newer one cannot be read.
    in_force: watch::Sender<BTreeMap<u16, Section>>,
    reports: Arc<Mutex<Reports>>,
    actual: watch::Sender<Option<ActualState>>,
}

/// The parts' reports on one version, by the kind of section.
#[derive(Default)]
struct Reports {
    version: u64,
    by_kind: BTreeMap<u16, SectionReport>,
}

/// The newest document and the sections in force, as the wire has them, for the next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u64,
    sections: Vec<Section>,
    #[serde(default)]
    in_force: Vec<Section>,
}

impl Document for Kept {
    const FILE: &str = "desired.json";
}

impl Desired {
    /// Begins with the document that was in force when the box went down.
    pub(crate) fn new(kept: Kept, knows: &'static [KnownSection]) -> Self {
        // A document of more sections than this build can hold does not count at all, so that the control
        // plane sends it again.
        let sections = kept.sections.try_into();
        let state = sections.map_or_else(
            |_| DesiredState::default(),
            |sections| DesiredState { version: kept.version, sections },
        );
        let in_force = kept.in_force.into_iter().map(|section| (section.kind, section)).collect();
        let desired = Self {
            knows,
            newest: watch::Sender::new(Arc::default()),
            in_force: watch::Sender::new(in_force),
            reports: Arc::default(),
            actual: watch::Sender::new(None),
        };
        desired.adopt(state);
        desired
    }

    /// Puts a document in force that is newer than the document in force; an older one changes nothing. A
    /// document is in force as soon as it is in memory: a full disk must not keep a box from doing what it is
    /// told.
    pub(crate) fn adopt(&self, state: DesiredState) {
        let version = state.version;
        // The lock is held until the reports are those of this version: a part may report at once.
        let mut reports = self.lock();
        let newer = self.newest.send_if_modified(|newest| {
            let newer = version > newest.version;
            if newer {
                *newest = Arc::new(state);
            }
            newer
        });
        if newer {
            tracing::info!(version, "a new desired state");
            *reports = Reports { version, by_kind: BTreeMap::new() };
        }
        self.publish(&reports);
    }

    /// The version in force.
    pub(crate) fn version(&self) -> u64 {
        self.newest.borrow().version
    }

    /// The sections that this build reads.
    pub(crate) const fn knows(&self) -> &'static [KnownSection] {
        self.knows
    }

    /// What the next start has to know, as it changes.
    pub(crate) fn keeps(&self) -> Keeps {
        Keeps { newest: self.newest.subscribe(), in_force: self.in_force.subscribe() }
    }

    /// The wishes for a part that applies sections of type `T`.
    pub(crate) fn wishes<T: SectionBody>(&self) -> Wishes<T> {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        Wishes { desired: self.clone(), newest, began: false, body: PhantomData }
    }

    /// What the node has made of its desired state, as it changes.
    pub(crate) fn actual(&self) -> watch::Receiver<Option<ActualState>> {
        self.actual.subscribe()
    }

    fn say(&self, version: u64, report: SectionReport) {
        let mut reports = self.lock();
        if reports.version == version {
            reports.by_kind.insert(report.kind, report);
            self.publish(&reports);
        }
    }

    fn publish(&self, reports: &Reports) {
        let newest = self.newest.borrow().clone();
        let sections: Vec<_> = newest
            .sections
            .iter()
            .map(|section| {
                let said = reports.by_kind.get(&section.kind).cloned();
                said.unwrap_or_else(|| {
                    let known = self.knows.iter().any(|known| known.kind == section.kind);
                    report(section.kind, if known { Phase::Working } else { Phase::Unsupported }, None)
                })
            })
            .collect();
        let sections = sections.try_into().unwrap_or_default();
        let actual = ActualState { desired_version: newest.version, sections };
        self.actual.send_replace(Some(actual.fitted()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the part that keeps the desired state on the disk.
pub(crate) struct Keeps {
    newest: watch::Receiver<Arc<DesiredState>>,
    in_force: watch::Receiver<BTreeMap<u16, Section>>,
}

impl Keeps {
    /// What the next start has to know now.
    pub(crate) fn now(&mut self) -> Kept {
        let newest = self.newest.borrow_and_update().clone();
        let in_force = self.in_force.borrow_and_update().values().cloned().collect();
        Kept { version: newest.version, sections: newest.sections.to_vec(), in_force }
    }

    /// Waits until that has changed.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.newest.changed() => changed,
            changed = self.in_force.changed() => changed,
        }
    }
}

/// The sections for one part, document by document.
pub(crate) struct Wishes<T> {
    desired: Desired,
    newest: watch::Receiver<Arc<DesiredState>>,
    /// Whether the part has been told anything since it was started.
    began: bool,
    body: PhantomData<T>,
}

/// One section for a part to apply and to report on.
pub(crate) struct Wish<T> {
    /// Whose section it is; `None` if it was in force before this start and the newest document cannot be read.
    origin: Option<(u64, Option<Section>)>,
    /// What is wished; `None` if the document has no such section: then whatever holds of itself.
    pub(crate) body: Option<T>,
}

impl<T> Wish<T> {
    /// The version of the document; 0 if it cannot be read.
    pub(crate) fn version(&self) -> u64 {
        self.origin.as_ref().map_or(0, |(version, _)| *version)
    }
}

impl<T: SectionBody> Wishes<T> {
    /// The next wish. A section that cannot be read is answered here, and what was in force stays so, over a start too.
    pub(crate) async fn next(&mut self) -> Option<Wish<T>> {
        loop {
            self.newest.changed().await.ok()?;
            let newest = self.newest.borrow_and_update().clone();
            let section = newest.sections.iter().find(|section| section.kind == T::KIND);
            let read = section.map(|section| T::of(&section.body)).transpose();
            let first = !std::mem::replace(&mut self.began, true);
            // No document yet, or one that this build cannot hold: what was in force stays so until there is one.
            if first
                && newest.version == 0
                && let Some(body) = self.in_force()
            {
                return Some(Wish { origin: None, body: Some(body) });
            }
            match read {
                Ok(body) => return Some(Wish { origin: Some((newest.version, section.cloned())), body }),
                Err(error @ DecodeError::UnknownVersion(_)) => {
                    self.say(newest.version, Phase::Unsupported, Some(&error.to_string()));
                }
                Err(error) => self.say(newest.version, Phase::Failed, Some(&error.to_string())),
            }
            if first && let Some(body) = self.in_force() {
                return Some(Wish { origin: None, body: Some(body) });
            }
        }
    }

    /// Reports that the wish is in force.
    pub(crate) fn applied(&self, wish: &Wish<T>) {
        self.taken(wish);
        if let Some((version, _)) = &wish.origin {
            self.say(*version, Phase::Applied, None);
        }
    }

    /// Notes that the wish is what the part works on from now on, over a start too.
    pub(crate) fn taken(&self, wish: &Wish<T>) {
        let Some((_, section)) = &wish.origin else { return };
        self.desired.in_force.send_if_modified(|in_force| {
            let before = match section {
                Some(section) => in_force.insert(T::KIND, section.clone()),
                None => in_force.remove(&T::KIND),
            };
            before != *section
        });
    }

    /// Reports how far the part is with the wish, and what it has to show.
    pub(crate) fn shows(&self, wish: &Wish<T>, phase: Phase, body: &impl SectionBody, error: Option<&str>) {
        let Some((version, Some(_))) = &wish.origin else { return };
        let body = body.section().map(|section| section.body).unwrap_or_default();
        self.desired.say(*version, SectionReport { body, ..report(T::KIND, phase, error) });
    }

    /// What was in force before this start, if this build can read it.
    fn in_force(&self) -> Option<T> {
        T::of(&self.desired.in_force.borrow().get(&T::KIND)?.body).ok()
    }

    fn say(&self, version: u64, phase: Phase, error: Option<&str>) {
        self.desired.say(version, report(T::KIND, phase, error));
    }
}

fn report(kind: u16, phase: Phase, error: Option<&str>) -> SectionReport {
    SectionReport { kind, phase, body: Default::default(), error: error.map(Text::truncated) }
}

#[cfg(test)]
mod tests;
