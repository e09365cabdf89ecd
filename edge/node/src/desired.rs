//! The desired state: adopted at once, kept on the disk, handed to the parts by section, and what the parts have made of it.

use noderr_part::Document;
use noderr_protocol::{
    ActualState, DecodeError, DesiredState, Phase, Section, SectionBody, SectionReport, Text,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Shared by the parts; cheap to clone.
#[derive(Clone)]
pub(crate) struct Desired {
    /// The kinds of sections that a part of this build cares for.
    knows: &'static [u16],
    newest: watch::Sender<Arc<DesiredState>>,
    reports: Arc<Mutex<Reports>>,
    actual: watch::Sender<Option<ActualState>>,
}

/// What the parts have said of one version, by the kind of section.
#[derive(Default)]
struct Reports {
    version: u64,
    by_kind: BTreeMap<u16, SectionReport>,
}

/// The newest document, as the wire has it, for the next start.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u64,
    sections: Vec<Section>,
}

impl Document for Kept {
    const FILE: &str = "desired.json";
}

impl From<&DesiredState> for Kept {
    fn from(state: &DesiredState) -> Self {
        Self { version: state.version, sections: state.sections.to_vec() }
    }
}

impl Desired {
    /// Begins with what was in force when the box went down.
    pub(crate) fn new(kept: Kept, knows: &'static [u16]) -> Self {
        // More sections than this build can hold: none of it counts, so that the control plane says it again.
        let sections = kept.sections.try_into();
        let state = sections.map_or_else(
            |_| DesiredState::default(),
            |sections| DesiredState { version: kept.version, sections },
        );
        let desired = Self {
            knows,
            newest: watch::Sender::new(Arc::default()),
            reports: Arc::default(),
            actual: watch::Sender::new(None),
        };
        desired.adopt(state);
        desired
    }

    /// Takes a document that is newer than the one in force; an older one changes nothing. In force means in memory: a disk
    /// that is full must not keep a box from doing what it is told.
    pub(crate) fn adopt(&self, state: DesiredState) {
        let version = state.version;
        // Held until the reports are those of this version: a part may answer at once.
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

    /// The kinds of sections that this build knows.
    pub(crate) const fn knows(&self) -> &'static [u16] {
        self.knows
    }

    /// The newest document, as it changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<DesiredState>> {
        self.newest.subscribe()
    }

    /// For a part that does what its section says.
    pub(crate) fn wishes<T: SectionBody>(&self) -> Wishes<T> {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        Wishes { desired: self.clone(), newest, kind: std::marker::PhantomData }
    }

    /// What has become of the newest document, for the link.
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
                    let known = self.knows.contains(&section.kind);
                    report(section.kind, if known { Phase::Working } else { Phase::Unsupported }, None)
                })
            })
            .collect();
        let sections = sections.try_into().unwrap_or_default();
        self.actual.send_replace(Some(ActualState { desired_version: newest.version, sections }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one part is told, document by document.
pub(crate) struct Wishes<T> {
    desired: Desired,
    newest: watch::Receiver<Arc<DesiredState>>,
    kind: std::marker::PhantomData<T>,
}

/// One wish, to be answered.
pub(crate) struct Wish<T> {
    version: u64,
    pub(crate) body: T,
}

impl<T: SectionBody> Wishes<T> {
    /// The next document with a section of this kind that can be read. One that cannot be read is answered here.
    pub(crate) async fn next(&mut self) -> Option<Wish<T>> {
        loop {
            self.newest.changed().await.ok()?;
            let newest = self.newest.borrow_and_update().clone();
            let Some(section) = newest.find(T::KIND) else { continue };
            match T::of(section) {
                Ok(body) => return Some(Wish { version: newest.version, body }),
                Err(error @ DecodeError::UnknownVersion(_)) => {
                    self.say(newest.version, Phase::Unsupported, Some(&error.to_string()));
                }
                Err(error) => self.say(newest.version, Phase::Failed, Some(&error.to_string())),
            }
        }
    }

    /// It is in force.
    pub(crate) fn applied(&self, wish: &Wish<T>) {
        self.say(wish.version, Phase::Applied, None);
    }

    fn say(&self, version: u64, phase: Phase, error: Option<&str>) {
        self.desired.say(version, report(T::KIND, phase, error));
    }
}

fn report(kind: u16, phase: Phase, error: Option<&str>) -> SectionReport {
    SectionReport { kind, phase, body: Default::default(), error: error.map(Text::truncated) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::Base;
    use std::time::Duration;

    fn document(version: u64, sections: Vec<Section>) -> DesiredState {
        DesiredState { version, sections: sections.try_into().unwrap() }
    }

    fn base(sample_every_s: u16) -> Section {
        Base { paused: false, sample_every_s }.section().unwrap()
    }

    fn phases(desired: &Desired) -> Vec<(u16, Phase)> {
        let actual = desired.actual().borrow().clone().unwrap();
        actual.sections.iter().map(|report| (report.kind, report.phase)).collect()
    }

    #[tokio::test]
    async fn a_section_that_this_build_does_not_know_is_said_so_and_the_others_are_applied() {
        let desired = Desired::new(Kept::default(), &[Base::KIND]);
        let later = Section { kind: 4711, body: vec![1, 2, 3].try_into().unwrap() };
        desired.adopt(document(3, vec![later, base(7)]));
        assert_eq!(phases(&desired), [(4711, Phase::Unsupported), (Base::KIND, Phase::Working)]);
        let mut wishes = desired.wishes::<Base>();
        let wish = wishes.next().await.unwrap();
        assert_eq!(wish.body.sample_every_s, 7);
        wishes.applied(&wish);
        assert_eq!(phases(&desired), [(4711, Phase::Unsupported), (Base::KIND, Phase::Applied)]);
    }

    #[tokio::test]
    async fn a_later_version_of_a_known_section_is_answered_and_the_next_document_is_heard() {
        let desired = Desired::new(Kept::default(), &[Base::KIND]);
        let mut wishes = desired.wishes::<Base>();
        let mut later = base(7);
        later.body = vec![200, 1, 2].try_into().unwrap();
        desired.adopt(document(1, vec![later]));
        let waits = tokio::time::timeout(Duration::from_millis(20), wishes.next()).await;
        assert!(waits.is_err());
        assert_eq!(phases(&desired), [(Base::KIND, Phase::Unsupported)]);
        desired.adopt(document(2, vec![base(9)]));
        assert_eq!(wishes.next().await.unwrap().body.sample_every_s, 9);
    }

    #[test]
    fn what_is_kept_on_the_disk_is_what_is_in_force_after_a_start() {
        let place = tempfile::tempdir().unwrap();
        let folder = noderr_part::Folder::open(place.path()).unwrap();
        let state = document(5, vec![base(300), Section { kind: 9, body: vec![0, 255].try_into().unwrap() }]);
        folder.write(&Kept::from(&state)).unwrap();
        let desired = Desired::new(folder.read().unwrap().unwrap(), &[Base::KIND]);
        assert_eq!(**desired.subscribe().borrow(), state);
    }

    #[test]
    fn a_document_of_more_sections_than_this_build_can_hold_is_not_taken_for_an_empty_one() {
        let desired = Desired::new(Kept { version: 5, sections: vec![base(7); 33] }, &[Base::KIND]);
        assert_eq!(desired.version(), 0);
    }

    #[test]
    fn an_older_document_changes_nothing() {
        let desired = Desired::new(Kept { version: 5, sections: vec![base(7)] }, &[Base::KIND]);
        desired.adopt(document(4, vec![]));
        assert_eq!((desired.version(), phases(&desired).len()), (5, 1));
    }
}
