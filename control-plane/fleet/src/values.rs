//! Values that nodes send, brought within what PostgreSQL, people and their terminals can read.

use noderr_protocol::{NodeId, UnixMillis, steers_terminal};
use time::OffsetDateTime;

/// Reads a node id column.
pub(crate) fn node_id(bytes: &[u8]) -> NodeId {
    NodeId::from_bytes(bytes.try_into().expect("a CHECK in the schema keeps ids at 32 bytes"))
}

/// A number for PostgreSQL, which has no unsigned integers; a node that counts beyond 2^63 is lying.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A node's time, brought within what PostgreSQL and people can read.
pub(crate) fn timestamp(time: UnixMillis) -> OffsetDateTime {
    // From 1970 to the year 9999: PostgreSQL and RFC 3339 both end before the node's integer does.
    let within = time.clamp(0, 253_402_300_799_000);
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(within) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A node's text, without characters that PostgreSQL cannot store or that would steer the reader's terminal.
pub fn text(text: &str) -> String {
    text.replace(steers_terminal, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_no_database_can_hold_is_brought_within_what_it_can() {
        for time in [i64::MIN, -300_000_000_000_000, -1] {
            assert_eq!(timestamp(time), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!(timestamp(i64::MAX).year(), 9999);
        assert_eq!(timestamp(1_700_000_000_000).unix_timestamp(), 1_700_000_000);
    }

    #[test]
    fn text_loses_only_what_a_terminal_takes_for_orders() {
        assert_eq!(text("a\u{202e}b\u{2066}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(text("a\0b\u{1b}[2J ü"), "a\u{fffd}b\u{fffd}[2J ü");
    }
}
