//! Measures the box on a beat and writes the samples to the spool in batches.

use crate::probes::{CpuMeter, disk, memory, network, temperature, uptime_s};
use crate::pulse::Pulse;
use crate::status::Board;
use noderr_identity::{Tpm, TrustedClock};
use noderr_link::SpoolSignal;
use noderr_protocol::{Lane, Message as _, Payload, TelemetrySample};
use noderr_spool::{Appended, Spool};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the sampler needs; cheap to clone, so that it can be started again.
#[derive(Clone)]
pub(crate) struct Sampler {
    pub(crate) data: PathBuf,
    pub(crate) clock: TrustedClock,
    pub(crate) tpm: Option<Tpm>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) signal: SpoolSignal,
    pub(crate) board: Board,
    /// Seconds between samples, as the control plane wants them.
    pub(crate) every_s: watch::Receiver<u16>,
    /// Milliseconds between samples whatever the control plane wants.
    pub(crate) every_ms: Option<u64>,
    pub(crate) batch: usize,
    pub(crate) batch_every: Duration,
    pub(crate) pulse: Pulse,
    pub(crate) stop: CancellationToken,
}

impl Sampler {
    pub(crate) async fn run(mut self) {
        let mut meter = CpuMeter::default();
        let mut batch = Vec::new();
        let mut since = Instant::now();
        loop {
            let wished = Duration::from_secs((*self.every_s.borrow_and_update()).max(1).into());
            let pace = self.every_ms.map_or(wished, Duration::from_millis);
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                changed = self.every_s.changed() => if changed.is_ok() { continue },
                () = self.stop.cancelled() => {
                    self.write(std::mem::take(&mut batch)).await;
                    return;
                }
            }
            match Payload::Telemetry(self.sample(&mut meter)).encode() {
                Ok(bytes) => batch.push(bytes),
                Err(error) => tracing::error!(%error, "a sample cannot be encoded"),
            }
            if batch.len() >= self.batch || since.elapsed() >= self.batch_every {
                self.write(std::mem::take(&mut batch)).await;
                since = Instant::now();
            }
        }
    }

    fn sample(&self, meter: &mut CpuMeter) -> TelemetrySample {
        let (memory_used_kib, memory_total_kib) = memory();
        let disk = disk(&self.data);
        let (network_rx_bytes, network_tx_bytes) = network();
        let tpm = self.tpm.as_ref().map(Tpm::stats).unwrap_or_default();
        let spool = self.spool.stats();
        let status = self.board.read();
        TelemetrySample {
            time: self.clock.now_ms(),
            uptime_s: uptime_s(),
            cpu_permille: meter.permille(),
            memory_used_kib,
            memory_total_kib,
            disk_used_kib: disk.used_kib,
            disk_total_kib: disk.total_kib,
            temperature_decicelsius: temperature(),
            network_rx_bytes,
            network_tx_bytes,
            clock_offset_ms: self.clock.is_vouched().then(|| self.clock.system_offset_ms()),
            tpm_commands: tpm.answered,
            tpm_failures: tpm.failed,
            link_connects: status.connects,
            link_rtt_ms: status.round_trip_ms.and_then(|ms| u32::try_from(ms).ok()),
            spool_records: spool.records,
            spool_lost: spool.lost,
        }
    }

    async fn write(&self, batch: Vec<Vec<u8>>) {
        let _busy = self.pulse.busy();
        let (spool, signal) = (self.spool.clone(), self.signal.clone());
        let written = tokio::task::spawn_blocking(move || spool.append(Lane::Telemetry, &batch)).await;
        match written {
            Ok(Ok(Appended::Kept)) => signal.notify_one(),
            // The health check says so, once; here it would be said every minute.
            Ok(Ok(Appended::DiskFull)) => signal.notify_one(),
            Ok(Err(error)) => tracing::error!(%error, "samples could not be written to the spool"),
            Err(error) => tracing::error!(%error, "the spool panicked"),
        }
    }
}
