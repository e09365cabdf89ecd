//! One value in a lane's tree: some records, or the gap where records were. Every record has its own checksum, so
//! that damage costs what it touched and no more.
//!
//! Kinds above those of this build are in a frame that every build can read: kind, epoch, count, anything,
//! checksum. An older build keeps such blocks and reads no further than the first of them, until the newer
//! build is back.

use noderr_protocol::{Gap, GapReason};

/// Records of one block: few enough that a value stays small, many enough that appending is cheap.
pub(crate) const BLOCK_RECORDS: usize = 50;
pub(crate) const BLOCK_BYTES: usize = 16 * 1024;

const RECORDS: u8 = 1;
const GAP: u8 = 2;
const HEADER: usize = 1 + 8;

/// What a value holds, as far as it can be read. The first number is the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// Bodies in order; `None` where the checksum fails.
    Records { epoch: u64, bodies: Vec<Option<Vec<u8>>> },
    /// Numbers that will never come.
    Gap { epoch: u64, last: u64, reason: GapReason },
    /// A whole block of a kind that only a later build can read.
    Foreign { epoch: u64 },
    /// A block of which not even the header can be believed.
    Damaged,
}

pub(crate) fn encode_records(epoch: u64, first: u64, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![RECORDS];
    value.extend_from_slice(&epoch.to_be_bytes());
    for (seq, body) in (first..).zip(bodies) {
        let len = u32::try_from(body.len()).expect("records are bounded at a few kilobytes");
        value.extend_from_slice(&len.to_be_bytes());
        value.extend_from_slice(&checksum(epoch, seq, body).to_be_bytes());
        value.extend_from_slice(body);
    }
    value
}

pub(crate) fn encode_gap(gap: &Gap) -> Vec<u8> {
    let mut value = vec![GAP];
    value.extend_from_slice(&gap.epoch.to_be_bytes());
    value.extend_from_slice(&gap.last.to_be_bytes());
    let reason = reason_byte(gap.reason);
    value.push(reason);
    value.extend_from_slice(&checksum(gap.epoch, gap.last, &[reason]).to_be_bytes());
    value
}

/// Reads a value; `first` is its key and `count` how many numbers it must account for, as the keys around it say.
pub(crate) fn decode(first: u64, count: u64, value: &[u8]) -> Block {
    match value.split_first() {
        Some((&RECORDS, _)) => decode_records(first, count, value),
        Some((&GAP, rest)) => decode_gap(rest).unwrap_or(Block::Damaged),
        _ => foreign(value).map_or(Block::Damaged, |(epoch, _)| Block::Foreign { epoch }),
    }
}

/// How many numbers a value says that it accounts for, and how many of these numbers are records.
pub(crate) fn count_numbers(first: u64, value: &[u8]) -> Option<(u64, u64)> {
    match value.first() {
        Some(&RECORDS) => {
            let mut rest = value.get(HEADER..)?;
            let mut count = 0;
            while let Some((_, _, tail)) = split_record(rest) {
                rest = tail;
                count += 1;
            }
            (count > 0).then_some((count, count))
        }
        Some(&GAP) => match decode_gap(&value[1..])? {
            Block::Gap { last, .. } => Some((last.checked_sub(first)? + 1, 0)),
            _ => None,
        },
        _ => foreign(value).map(|(_, count)| (count, count)),
    }
}

/// Whether only a later build can read a value.
pub(crate) fn is_foreign(value: &[u8]) -> bool {
    !matches!(value.first(), Some(&(RECORDS | GAP))) && foreign(value).is_some()
}

/// Epoch and count of a block of a later build, if `value` is a whole block of such a kind.
fn foreign(value: &[u8]) -> Option<(u64, u64)> {
    let (rest, sum) = value.split_last_chunk::<4>()?;
    let (kind, fields) = rest.split_first()?;
    let (epoch, fields) = fields.split_first_chunk::<8>()?;
    let (count, _) = fields.split_first_chunk::<4>()?;
    let count = u32::from_be_bytes(*count);
    let sound = *kind > GAP && count > 0 && crc32fast::hash(rest) == u32::from_be_bytes(*sum);
    sound.then_some((u64::from_be_bytes(*epoch), count.into()))
}

fn decode_records(first: u64, count: u64, value: &[u8]) -> Block {
    let Some(header) = value.get(1..HEADER) else { return Block::Damaged };
    let epoch = header.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let mut rest = &value[HEADER..];
    let bodies: Vec<_> = (first..first + count)
        .map(|seq| {
            let (sum, body, tail) = split_record(rest)?;
            rest = tail;
            (sum == checksum(epoch, seq, body)).then(|| body.to_vec())
        })
        .collect();
    // The epoch is covered by every record's checksum: if no checksum holds, the epoch is not to be believed
    // either.
    if bodies.iter().all(Option::is_none) { Block::Damaged } else { Block::Records { epoch, bodies } }
}

fn decode_gap(rest: &[u8]) -> Option<Block> {
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let (reason, sum) = rest.split_first()?;
    let (epoch, last) = (u64::from_be_bytes(*epoch), u64::from_be_bytes(*last));
    let sound = u32::from_be_bytes(sum.try_into().ok()?) == checksum(epoch, last, &[*reason]);
    sound.then_some(Block::Gap { epoch, last, reason: byte_reason(*reason) })
}

fn split_record(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (body, tail) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((u32::from_be_bytes(*sum), body, tail))
}

fn checksum(epoch: u64, seq: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_be_bytes());
    hasher.update(&seq.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The byte of a reason on the disk, where reasons begin at one.
const fn reason_byte(reason: GapReason) -> u8 {
    reason.byte().wrapping_add(1)
}

const fn byte_reason(byte: u8) -> GapReason {
    GapReason::of_byte(byte.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            epoch: u64, first in 1..1_u64 << 60, bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..20)
        ) {
            let value = encode_records(epoch, first, &bodies);
            let count = bodies.len() as u64;
            prop_assert_eq!(count_numbers(first, &value), Some((count, count)));
            let bodies = bodies.into_iter().map(Some).collect();
            prop_assert_eq!(decode(first, count, &value), Block::Records { epoch, bodies });
        }

        #[test]
        fn one_flipped_bit_never_passes_for_a_record(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..32), 1..8), at: prop::sample::Index, bit in 0..8_u8
        ) {
            let mut value = encode_records(3, 10, &bodies);
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            let read = match decode(10, bodies.len() as u64, &value) {
                Block::Records { bodies, .. } => bodies,
                Block::Gap { .. } | Block::Foreign { .. } | Block::Damaged => vec![None; bodies.len()],
            };
            prop_assert!(read.iter().any(Option::is_none));
            for (read, written) in read.into_iter().zip(bodies) {
                prop_assert!(read.is_none_or(|read| read == written));
            }
        }

        #[test]
        fn garbage_never_panics(first in 0..1_u64 << 60, count in 0..1000_u64, value: Vec<u8>) {
            count_numbers(first, &value);
            decode(first, count, &value);
        }
    }
}
