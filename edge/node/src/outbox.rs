//! The outbox: how the parts of the node append to the spool and wake the link.

use noderr_link::SpoolSignal;
use noderr_part::{Pulse, SLOW_DISK};
use noderr_protocol::{Alert, AlertCode, Lane, Message as _, Payload, Text, UnixMillis};
use noderr_spool::{Appended, Spool};
use std::sync::Arc;
use tokio::sync::Notify;

/// The way of a part to the spool; cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) spool: Arc<Spool>,
    pub(crate) signal: SpoolSignal,
    /// Tells whoever looks after the spool that it takes nothing.
    pub(crate) refused: Arc<Notify>,
    pub(crate) pulse: Pulse,
}

impl Outbox {
    /// Spools encoded payloads. Payloads that the disk does not take are counted, and the health check reports the disk.
    pub(crate) async fn put(&self, lane: Lane, payloads: Vec<Vec<u8>>) {
        let _busy = self.pulse.busy(SLOW_DISK);
        let spool = self.spool.clone();
        let written = tokio::task::spawn_blocking(move || spool.append(lane, &payloads)).await;
        match written {
            Ok(Ok(Appended::Kept)) => self.signal.notify_one(),
            Ok(Ok(Appended::NotKept)) => self.refused.notify_one(),
            Ok(Err(error)) => tracing::error!(%lane, %error, "records could not be written to the spool"),
            Err(error) => tracing::error!(%lane, %error, "the spool panicked"),
        }
    }

    /// Spools an alert.
    pub(crate) async fn alert(&self, time: UnixMillis, code: AlertCode, detail: &str) {
        tracing::warn!(code = %code.name(), detail, "alert");
        let alert = Alert { time, code, detail: Text::truncated(detail) };
        match Payload::Alert(alert).encode() {
            Ok(bytes) => self.put(Lane::Alert, vec![bytes]).await,
            Err(error) => tracing::error!(%error, "an alert cannot be encoded"),
        }
    }
}
