//! The desired state: documents that are adopted, kept over a start, and answered.

use super::*;
use noderr_protocol::Base;
use std::time::Duration;

fn document(version: u64, sections: Vec<Section>) -> DesiredState {
    DesiredState { version, sections: sections.try_into().unwrap() }
}

fn base(sample_every_s: u16) -> Section {
    Base { paused: false, sample_every_s }.section().unwrap()
}

fn sample_every_s(wish: &Wish<Base>) -> u16 {
    wish.body.unwrap().sample_every_s
}

fn later_base() -> Section {
    Section { kind: Base::KIND, body: vec![200, 1, 2].try_into().unwrap() }
}

/// What a start finds that comes after this desired state.
fn restarted(desired: &Desired) -> Desired {
    let place = tempfile::tempdir().unwrap();
    let folder = noderr_part::Folder::open(place.path()).unwrap();
    folder.write(&desired.keeps().now()).unwrap();
    Desired::new(folder.read().unwrap().unwrap(), &[Base::KNOWN])
}

fn phases(desired: &Desired) -> Vec<(u16, Phase)> {
    let actual = desired.actual().borrow().clone().unwrap();
    actual.sections.iter().map(|report| (report.kind, report.phase)).collect()
}

#[tokio::test]
async fn a_section_that_this_build_does_not_know_is_said_so_and_the_others_are_applied() {
    let desired = Desired::new(Kept::default(), &[Base::KNOWN]);
    let later = Section { kind: 4711, body: vec![1, 2, 3].try_into().unwrap() };
    desired.adopt(document(3, vec![later, base(7)]));
    assert_eq!(phases(&desired), [(4711, Phase::Unsupported), (Base::KIND, Phase::Working)]);
    let mut wishes = desired.wishes::<Base>();
    let wish = wishes.next().await.unwrap();
    assert_eq!(sample_every_s(&wish), 7);
    wishes.applied(&wish);
    assert_eq!(phases(&desired), [(4711, Phase::Unsupported), (Base::KIND, Phase::Applied)]);
}

#[tokio::test]
async fn a_later_version_of_a_known_section_is_answered_and_the_next_document_is_heard() {
    let desired = Desired::new(Kept::default(), &[Base::KNOWN]);
    let mut wishes = desired.wishes::<Base>();
    assert!(wishes.next().await.unwrap().body.is_none(), "nothing is wished yet");
    desired.adopt(document(1, vec![later_base()]));
    let waits = tokio::time::timeout(Duration::from_millis(20), wishes.next()).await;
    assert!(waits.is_err());
    assert_eq!(phases(&desired), [(Base::KIND, Phase::Unsupported)]);
    desired.adopt(document(2, vec![base(9)]));
    assert_eq!(sample_every_s(&wishes.next().await.unwrap()), 9);
}

#[test]
fn what_is_kept_on_the_disk_is_what_is_in_force_after_a_start() {
    let state = document(5, vec![base(300), Section { kind: 9, body: vec![0, 255].try_into().unwrap() }]);
    let desired = Desired::new(Kept::default(), &[Base::KNOWN]);
    desired.adopt(state.clone());
    assert_eq!(**restarted(&desired).newest.borrow(), state);
}

#[tokio::test]
async fn what_was_in_force_stays_so_over_a_start_while_the_newest_cannot_be_read() {
    let desired = Desired::new(Kept::default(), &[Base::KNOWN]);
    desired.adopt(document(1, vec![base(7)]));
    let mut wishes = desired.wishes::<Base>();
    let wish = wishes.next().await.unwrap();
    wishes.applied(&wish);
    desired.adopt(document(2, vec![later_base()]));

    let desired = restarted(&desired);
    let mut wishes = desired.wishes::<Base>();
    let wish = wishes.next().await.unwrap();
    assert_eq!(sample_every_s(&wish), 7);
    wishes.applied(&wish);
    assert_eq!(phases(&desired), [(Base::KIND, Phase::Unsupported)], "the older one answers for nothing");
}

#[tokio::test]
async fn a_section_that_is_gone_is_no_longer_wished_after_a_start_either() {
    let desired = Desired::new(Kept::default(), &[Base::KNOWN]);
    let mut wishes = desired.wishes::<Base>();
    for document in [document(1, vec![base(7)]), document(2, vec![])] {
        desired.adopt(document);
        let wish = wishes.next().await.unwrap();
        wishes.applied(&wish);
    }
    assert_eq!(desired.keeps().now(), Kept { version: 2, ..Kept::default() });
    assert!(restarted(&desired).wishes::<Base>().next().await.unwrap().body.is_none());
}

#[tokio::test]
async fn a_document_of_more_sections_than_this_build_can_hold_is_not_taken_for_an_empty_one() {
    let kept = Kept { version: 5, sections: vec![base(7); 33], in_force: vec![base(9)] };
    let desired = Desired::new(kept, &[Base::KNOWN]);
    assert_eq!(desired.version(), 0);
    let mut wishes = desired.wishes::<Base>();
    let wish = wishes.next().await.unwrap();
    assert_eq!(sample_every_s(&wish), 9);
    wishes.applied(&wish);
    assert_eq!(desired.keeps().now().in_force, [base(9)]);
}

#[test]
fn an_older_document_changes_nothing() {
    let desired =
        Desired::new(Kept { version: 5, sections: vec![base(7)], ..Kept::default() }, &[Base::KNOWN]);
    desired.adopt(document(4, vec![]));
    assert_eq!((desired.version(), phases(&desired).len()), (5, 1));
}
