//! The pace: how many bytes may be on their way to the broker. What the broker has not confirmed (PUBACK) still stands before
//! everything that comes after, signs of life included: on a slow line little may be under way, on a fast one much.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A message of this size may always go, else nothing would.
const LEAST: usize = 4 * 1024;
const FIRST: usize = 16 * 1024;
const MOST: usize = 1024 * 1024;
/// How long messages may wait for each other on the line before fewer bytes are under way.
const TARGET: Duration = Duration::from_secs(2);

/// What was handed to the MQTT client and is not confirmed yet.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The ticket of the next message.
    next: u64,
    /// Messages that have no packet id yet, in order.
    queued: VecDeque<Message>,
    /// Messages on the wire, by packet id.
    under_way: BTreeMap<u16, Message>,
    bytes: usize,
    allowance: usize,
    /// The shortest time that a message was under way: what the way itself takes.
    quickest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    ticket: u64,
    bytes: usize,
    handed: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        let (queued, under_way) = (VecDeque::new(), BTreeMap::new());
        Self { next: 0, queued, under_way, bytes: 0, allowance: FIRST, quickest: TARGET }
    }
}

impl Pace {
    /// Notes a message that was handed over; returns its ticket.
    pub(crate) fn handed(&mut self, bytes: usize, now: Instant) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.queued.push_back(Message { ticket, bytes, handed: now });
        ticket
    }

    /// Notes the packet id that the oldest message without one has got.
    pub(crate) fn numbered(&mut self, packet: u16) {
        if let Some(message) = self.queued.pop_front() {
            self.under_way.insert(packet, message);
        }
    }

    /// Notes that the broker has confirmed a packet; returns the ticket of its message.
    pub(crate) fn confirmed(&mut self, packet: u16, now: Instant) -> Option<u64> {
        let message = self.under_way.remove(&packet)?;
        let took = now.saturating_duration_since(message.handed);
        self.quickest = self.quickest.min(took);
        let (used, target) = (self.bytes, TARGET + self.quickest);
        self.bytes -= message.bytes;
        self.allowance = if took > target {
            // By how much it took too long, but by no more than half at a time: one stall is not a slow line.
            let fitting = self.allowance.min(used) as f64 * target.as_secs_f64() / took.as_secs_f64();
            (fitting as usize).max(self.allowance / 2).clamp(LEAST, MOST)
        } else if took <= target - TARGET / 2 && used >= self.allowance / 2 {
            (self.allowance + message.bytes).min(MOST)
        } else {
            self.allowance
        };
        Some(message.ticket)
    }

    /// How many bytes more may go now.
    pub(crate) const fn room(&self) -> usize {
        self.allowance.saturating_sub(self.bytes)
    }

    /// How many bytes a batch may have: two batches fill the line.
    pub(crate) fn batch(&self) -> usize {
        (self.allowance / 2).max(LEAST)
    }

    /// Whether a batch may go now.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes == 0 || self.room() >= self.batch().min(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends over a line of `bytes_per_s` with a round trip of `trip` for a minute; returns the longest time that a message
    /// was under way in the last half, and how much of what the line can carry was carried.
    fn drive(bytes_per_s: f64, trip: Duration) -> (Duration, f64) {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut now, mut line_free, mut packet, mut carried) = (start, start, 0_u16, 0);
        let mut arrivals: VecDeque<(Instant, u16, Instant)> = VecDeque::new();
        let mut longest = Duration::ZERO;
        while now < start + Duration::from_secs(60) {
            while pace.has_room() {
                let bytes = pace.batch().min(60_000);
                pace.handed(bytes, now);
                packet = packet.wrapping_add(1);
                pace.numbered(packet);
                line_free = line_free.max(now) + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
                arrivals.push_back((line_free + trip, packet, now));
                carried += bytes;
            }
            let (at, confirmed, sent) = arrivals.pop_front().expect("something is under way");
            now = at;
            pace.confirmed(confirmed, now);
            if now > start + Duration::from_secs(30) {
                longest = longest.max(now - sent);
            }
        }
        (longest, carried as f64 / bytes_per_s / 60.0)
    }

    #[test]
    fn a_slow_line_is_neither_flooded_nor_left_idle() {
        let (longest, used) = drive(4_000.0, Duration::from_millis(600));
        assert!(longest < Duration::from_secs(5), "{longest:?}");
        assert!(used > 0.8, "{used}");
        // The way alone takes most of the target.
        let (longest, used) = drive(4_000.0, Duration::from_millis(1200));
        assert!(longest < Duration::from_secs(7), "{longest:?}");
        assert!(used > 0.8, "{used}");
    }

    #[test]
    fn a_fast_line_is_used() {
        let (longest, used) = drive(2_000_000.0, Duration::from_millis(100));
        assert!(longest < Duration::from_secs(3) && used > 0.85, "{longest:?} {used}");
    }

    #[test]
    fn something_may_always_go_and_never_everything_at_once() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.has_room());
        pace.handed(60_000, now);
        assert!(!pace.has_room());
        pace.numbered(1);
        assert_eq!(pace.confirmed(1, now + Duration::from_secs(600)), Some(0));
        assert!(pace.has_room() && pace.batch() >= LEAST);
        assert_eq!(pace.confirmed(1, now), None, "a packet is confirmed once");
    }
}
