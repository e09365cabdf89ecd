//! Indexes of archives, whole and broken, and what is found again of an artefact that has changed.

use super::*;
use crate::{Packed, pack};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Bytes that look like nothing, always the same.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn packed(artefact: &[u8]) -> (Packed, Vec<u8>) {
    let (mut chunks, mut archive) = (tempfile::tempfile().unwrap(), Vec::new());
    let packed = pack(artefact, artefact.len() as u64, &mut chunks, &mut archive).unwrap();
    (packed, archive)
}

fn index(packed: &Packed, archive: &[u8]) -> Result<Index, IndexError> {
    let index = &archive[..usize::try_from(packed.archive.index_bytes).unwrap()];
    Index::read(index, &packed.content, &packed.archive)
}

fn unpacked(index: &Index, archive: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for (at, number) in index.places() {
        let chunk = &index.chunks()[number];
        assert_eq!(at, all.len() as u64);
        let at = usize::try_from(chunk.offset).unwrap();
        all.extend(index.open(chunk, &archive[at..at + chunk.packed as usize]).unwrap());
    }
    all
}

#[test]
fn what_is_packed_is_what_was_there_and_what_is_there_twice_travels_once() {
    let noise = noise(400_000, 7);
    for artefact in [vec![1], noise.clone(), vec![0; 3_000_000], [&noise[..], &noise[..]].concat()] {
        let (packed, archive) = packed(&artefact);
        assert_eq!(packed.archive.bytes, archive.len() as u64);
        let index = index(&packed, &archive).unwrap();
        assert_eq!(unpacked(&index, &archive), artefact);
    }
    let (twice, _) = packed(&[&noise[..], &noise[..]].concat());
    assert!(twice.archive.bytes < 550_000, "{}", twice.archive.bytes);
}

#[test]
fn of_an_artefact_that_has_grown_in_the_middle_nearly_all_is_found_again() {
    let before = noise(2_000_000, 1);
    let mut after = before.clone();
    after.splice(1_000_003..1_000_003, noise(1000, 2));
    let (packed, archive) = packed(&after);
    let index = index(&packed, &archive).unwrap();
    let pieces = index.cut(&before[..]).map(|piece| piece.unwrap());
    let found: BTreeSet<_> = pieces.filter_map(|piece| index.number_of(&piece)).collect();
    let lacking = index.chunks().len() - found.len();
    assert!((1..=4).contains(&lacking), "{lacking} of {}", index.chunks().len());
}

#[test]
fn a_chunk_that_was_changed_is_not_the_chunk() {
    let (packed, archive) = packed(&[noise(100_000, 3), vec![9; 200_000]].concat());
    let index = index(&packed, &archive).unwrap();
    for chunk in index.chunks() {
        let at = usize::try_from(chunk.offset).unwrap();
        let right = &archive[at..at + chunk.packed as usize];
        for flipped in [0, right.len() / 2, right.len() - 1] {
            let mut wrong = right.to_vec();
            wrong[flipped] ^= 1;
            // A flipped bit of a compressed chunk may still make the same bytes; others it must not make.
            assert!(
                index.open(chunk, &wrong).is_err_and(|error| error == NotTheChunk)
                    || index.is(chunk, &index.open(chunk, &wrong).unwrap())
            );
        }
        assert!(index.open(chunk, &right[1..]).is_err() && index.open(chunk, &[]).is_err());
    }
}

#[test]
fn an_index_of_something_else_is_refused() {
    let (honest, archive) = packed(&noise(300_000, 4));
    let other = |lie: fn(&mut Packed)| {
        let mut packed = honest.clone();
        lie(&mut packed);
        Index::read(
            &archive[..usize::try_from(honest.archive.index_bytes).unwrap()],
            &packed.content,
            &packed.archive,
        )
        .unwrap_err()
        .to_string()
    };
    assert!(other(|packed| packed.content.bytes += 1).contains("another length"));
    assert!(other(|packed| packed.archive.bytes -= 1).contains("not all of the archive"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: usize, with: u8, cut: usize) {
        let (packed, archive) = packed(&noise(150_000, 5));
        drop(Index::read(&bytes, &packed.content, &packed.archive));
        let mut near = archive[..usize::try_from(packed.archive.index_bytes).unwrap()].to_vec();
        let place = at % near.len();
        near[place] = with;
        near.truncate(near.len() - cut % 3);
        if let Ok(index) = Index::read(&near, &packed.content, &packed.archive) {
            prop_assert_eq!(index.places().map(|(_, number)| u64::from(index.chunks()[number].length)).sum::<u64>(), 150_000);
            index.cut(&archive[..]).for_each(drop);
        }
    }
}
