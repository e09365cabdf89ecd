//! The way of what nodes say to the workers of ingest. Every node has its worker; what waits for one worker keeps back no node
//! of another (behind an external broker, whose one session brings all, it does), and is bounded in bytes: a thousand tiny
//! messages may wait, and four of the largest.

use crate::UpEvent;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Events that may wait for one worker.
const EVENTS: usize = 2048;
/// Bytes that may wait for one worker. A message of the largest size holds 512 entries in any case: the bytes bound how many rows
/// of others come before those of whoever comes next.
const BYTES: usize = 256 * 1024;
/// What an event costs beside its payload.
const EVENT_BYTES: usize = 64;

/// Ingest takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ingest has ended")]
pub struct IntakeClosed;

/// The entrances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake(Arc<[Entrance]>);

#[derive(Debug)]
struct Entrance {
    events: mpsc::Sender<(UpEvent, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// What waits for one worker.
#[derive(Debug)]
pub struct IntakeQueue {
    events: mpsc::Receiver<(UpEvent, OwnedSemaphorePermit)>,
    closing: CancellationToken,
}

impl Intake {
    /// An intake for so many workers, and the queue of each. Once `closing` is cancelled the queues take nothing new, and hand on what
    /// they hold.
    pub fn new(workers: usize, closing: &CancellationToken) -> (Self, Vec<IntakeQueue>) {
        let entrance = || {
            let (events, queue) = mpsc::channel(EVENTS);
            let entrance = Entrance { events, room: Arc::new(Semaphore::new(BYTES)) };
            (entrance, IntakeQueue { events: queue, closing: closing.clone() })
        };
        let (entrances, queues): (Vec<_>, _) = (0..workers.max(1)).map(|_| entrance()).unzip();
        (Self(entrances.into()), queues)
    }

    /// An intake for one worker, for as long as the intake lives.
    pub fn for_one() -> (Self, IntakeQueue) {
        let (intake, mut queues) = Self::new(1, &CancellationToken::new());
        let queue = queues.remove(0);
        (intake, queue)
    }

    /// Waits for room with the node's worker. The events of one node stay in order.
    pub async fn send(&self, event: UpEvent) -> Result<(), IntakeClosed> {
        let (node, bytes) = match &event {
            UpEvent::Disconnected(node) => (node, 0),
            UpEvent::Message(message) => (&message.node, message.payload.len()),
        };
        let entrance = &self.0[usize::from(node.as_bytes()[1]) % self.0.len()];
        let bytes = u32::try_from((bytes + EVENT_BYTES).min(BYTES)).unwrap_or(u32::MAX);
        let room = entrance.room.clone().acquire_many_owned(bytes).await.map_err(|_| IntakeClosed)?;
        entrance.events.send((event, room)).await.map_err(|_| IntakeClosed)
    }
}

impl IntakeQueue {
    /// The next event; `None` after the last. Safe to cancel.
    pub async fn recv(&mut self) -> Option<UpEvent> {
        loop {
            tokio::select! {
                taken = self.events.recv() => return taken.map(|(event, _room)| event),
                () = self.closing.cancelled(), if !self.events.is_closed() => self.events.close(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UpMessage;
    use noderr_protocol::{NodeId, UpKind};
    use std::time::Duration;

    fn message(node: u8, bytes: usize) -> UpEvent {
        let payload = vec![0; bytes].into();
        UpEvent::Message(UpMessage { node: NodeId::from_bytes([node; 32]), kind: UpKind::Records, payload })
    }

    #[tokio::test]
    async fn what_waits_for_one_worker_is_bounded_and_keeps_back_nobody_of_another() {
        let closing = CancellationToken::new();
        let (intake, mut queues) = Intake::new(2, &closing);
        for _ in 0..4 {
            intake.send(message(0, 60_000)).await.unwrap();
        }
        let full = tokio::time::timeout(Duration::from_millis(50), intake.send(message(0, 60_000))).await;
        assert!(full.is_err(), "more than {BYTES} bytes wait");
        intake.send(message(1, 60_000)).await.unwrap();
        assert!(queues[0].recv().await.is_some());
        intake.send(message(0, 60_000)).await.unwrap();

        // At a stop, what waits is still handed on, and nothing new is taken.
        closing.cancel();
        let mut left = 0;
        while queues[0].recv().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 4);
        assert_eq!(intake.send(message(0, 1)).await, Err(IntakeClosed));
    }
}
