//! Measures the box at a fixed interval and writes the samples to the spool in batches.

use crate::probes::{self, Probe};
use crate::shared::Shared;
use noderr_protocol::{Lane, Message as _, Payload, TelemetrySample};
use std::time::{Duration, Instant};

pub(crate) async fn run(shared: Shared) {
    let settings = &shared.config.telemetry;
    let batch_every = Duration::from_secs(settings.batch_every_s);
    let mut every_s = shared.sample_every_s.subscribe();
    let mut probes = probes::all(&shared);
    let mut batch = Vec::new();
    let mut since = Instant::now();
    loop {
        let wished = Duration::from_secs((*every_s.borrow_and_update()).into());
        let pace = settings.sample_every_ms.map_or(wished, Duration::from_millis);
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            changed = every_s.changed() => if changed.is_ok() { continue },
            () = shared.stop.cancelled() => {
                shared.outbox.put(Lane::Telemetry, batch).await;
                return;
            }
        }
        match Payload::Telemetry(sample(&mut probes, shared.clock.now_ms())).encode() {
            Ok(bytes) => batch.push(bytes),
            Err(error) => tracing::error!(%error, "a sample cannot be encoded"),
        }
        if batch.len() >= settings.batch || since.elapsed() >= batch_every {
            shared.outbox.put(Lane::Telemetry, std::mem::take(&mut batch)).await;
            since = Instant::now();
        }
    }
}

fn sample(probes: &mut [Probe], time: i64) -> TelemetrySample {
    probes.iter_mut().fold(TelemetrySample::at(time), |sample, look| look(sample))
}
