//! Looks after the box: checks on a beat, alerts on change, heartbeats, the systemd watchdog.

use crate::probes::disk;
use crate::pulse::Pulse;
use crate::status::Board;
use noderr_identity::{NodeKeys, TrustedClock};
use noderr_link::{LinkState, SpoolSignal};
use noderr_protocol::{Alert, AlertCode, Heartbeat, Lane, Message as _, Payload, Text, Up};
use noderr_spool::Spool;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Between two looks.
const BEAT: Duration = Duration::from_secs(1);
/// Between two questions to the TPM: often enough to notice, seldom enough not to wear it.
const TPM_EVERY: Duration = Duration::from_secs(15);
/// Below this the spool stops taking telemetry.
const DISK_LOW_KIB: u64 = 4 * 1024;
/// A certificate does not bear more.
const CLOCK_WRONG_MS: u64 = 60 * 60 * 1000;

/// What health needs; cheap to clone, so that it can be started again.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) data: PathBuf,
    pub(crate) keys: NodeKeys,
    pub(crate) clock: TrustedClock,
    pub(crate) spool: Arc<Spool>,
    pub(crate) signal: SpoolSignal,
    pub(crate) board: Board,
    pub(crate) link: watch::Receiver<LinkState>,
    pub(crate) outgoing: mpsc::Sender<Up>,
    pub(crate) heartbeat_every: Duration,
    pub(crate) started: Instant,
    pub(crate) pulse: Pulse,
}

/// What was wrong at the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ailments {
    tpm: Option<String>,
    disk_low: bool,
    clock_wrong: bool,
    /// Records that damage on the disk has cost since the start.
    damaged: u64,
}

impl Health {
    pub(crate) async fn run(self) {
        let mut before = Ailments::default();
        let mut last_heartbeat: Option<Instant> = None;
        let (tpm_sender, tpm) = watch::channel(None);
        let asker = tokio::spawn(ask_tpm(self.keys.clone(), tpm_sender));
        let _asker = tokio_util::task::AbortOnDropHandle::new(asker);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let _busy = self.pulse.busy();
            let ailments = Ailments {
                tpm: tpm.borrow().clone(),
                disk_low: disk(&self.data).free_kib < DISK_LOW_KIB,
                clock_wrong: self.clock.is_vouched()
                    && self.clock.system_offset_ms().unsigned_abs() > CLOCK_WRONG_MS,
                damaged: self.spool.stats().damaged,
            };
            for (code, detail) in changes(&before, &ailments) {
                self.alert(code, &detail).await;
            }
            let online = self.look_around(&ailments);
            if online && last_heartbeat.is_none_or(|at| at.elapsed() >= self.heartbeat_every) {
                last_heartbeat = Some(Instant::now());
                self.heartbeat();
            }
            before = ailments;
        }
    }

    /// Writes what is seen on the board; returns whether the node is online.
    fn look_around(&self, ailments: &Ailments) -> bool {
        let link = self.link.borrow().clone();
        let spool = self.spool.stats();
        let free_kib = disk(&self.data).free_kib;
        let tpm = match &self.keys {
            NodeKeys::Tpm(tpm) => tpm.stats(),
            NodeKeys::Software(_) => noderr_identity::TpmStats::default(),
        };
        let online = matches!(link, LinkState::Up { .. });
        self.board.update(|status| {
            status.online = online;
            status.doing = match &link {
                LinkState::Up { .. } => "reporting".to_owned(),
                LinkState::TurnedAway => {
                    "turned away: revoked, suspended, or the certificate is not on record".to_owned()
                }
                LinkState::Down(Some(why)) => format!("buffering: {why}"),
                LinkState::Down(None) => "connecting".to_owned(),
            };
            if let LinkState::Up { connects, round_trip } = link {
                status.connects = connects;
                status.round_trip_ms = round_trip.and_then(|trip| u64::try_from(trip.as_millis()).ok());
            }
            status.uptime_s = self.started.elapsed().as_secs();
            status.clock_vouched = self.clock.is_vouched();
            status.clock_offset_ms = self.clock.system_offset_ms();
            status.spool_records = spool.records;
            status.spool_bytes = spool.bytes;
            status.spool_disk_bytes = spool.disk_bytes;
            status.spool_lost = spool.lost;
            status.tpm_answered = tpm.answered;
            status.tpm_failed = tpm.failed;
            status.disk_free_kib = free_kib;
            status.failing = ailments.in_words();
        });
        online
    }

    fn heartbeat(&self) {
        let status = self.board.read();
        let failing: Vec<_> = status.failing.iter().take(16).map(|check| Text::truncated(check)).collect();
        let beat = Heartbeat {
            time: self.clock.now_ms(),
            process_uptime_s: u32::try_from(status.uptime_s).unwrap_or(u32::MAX),
            failing: failing.try_into().unwrap_or_default(),
            backlog: status.spool_records,
            lost: status.spool_lost,
        };
        // Dropped while the queue is full: the next one says more.
        drop(self.outgoing.try_send(Up::Heartbeat(beat)));
    }

    async fn alert(&self, code: AlertCode, detail: &str) {
        tracing::warn!(code = code.as_str(), detail, "alert");
        let alert = Alert { time: self.clock.now_ms(), code, detail: Text::truncated(detail) };
        write_alert(&self.spool, &self.signal, alert).await;
    }
}

/// Tells systemd that the node gets things done, from the first moment on: enrolment may have to wait for days.
pub(crate) async fn feed_watchdog(pulse: Pulse) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        if !pulse.is_well(Instant::now()) {
            tracing::error!("something does not end; the watchdog is not fed");
            continue;
        }
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
            tracing::debug!(%error, "systemd does not listen");
        }
    }
}

/// Spools an alert; also used before health runs.
pub(crate) async fn write_alert(spool: &Arc<Spool>, signal: &SpoolSignal, alert: Alert) {
    let spool = spool.clone();
    let written = tokio::task::spawn_blocking(move || {
        let bytes = Payload::Alert(alert).encode().map_err(|error| error.to_string())?;
        spool.append(Lane::Alert, &[bytes]).map_err(|error| error.to_string())
    })
    .await;
    match written {
        Ok(Ok(_)) => signal.notify_one(),
        Ok(Err(error)) => tracing::error!(%error, "an alert could not be written to the spool"),
        Err(error) => tracing::error!(%error, "the spool panicked"),
    }
}

fn changes(before: &Ailments, now: &Ailments) -> Vec<(AlertCode, String)> {
    let mut changes = Vec::new();
    match (&before.tpm, &now.tpm) {
        (None, Some(why)) => changes.push((AlertCode::TpmUnreachable, why.clone())),
        (Some(_), None) => changes.push((AlertCode::TpmRecovered, "the TPM answers again".to_owned())),
        _ => {}
    }
    match (before.disk_low, now.disk_low) {
        (false, true) => {
            changes
                .push((AlertCode::DiskFull, "the disk is full; telemetry is dropped and counted".to_owned()));
        }
        (true, false) => changes.push((AlertCode::DiskRecovered, "the disk has room again".to_owned())),
        _ => {}
    }
    if now.clock_wrong && !before.clock_wrong {
        let detail = "the box's own clock is off by more than an hour; the control plane's time is used";
        changes.push((AlertCode::ClockWrong, detail.to_owned()));
    }
    if now.damaged > before.damaged {
        let detail = format!(
            "{} records were damaged on the disk and are lost; the disk may be failing",
            now.damaged - before.damaged
        );
        changes.push((AlertCode::RecordsDamaged, detail));
    }
    changes
}

impl Ailments {
    fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(why) = &self.tpm {
            words.push(format!("tpm: {why}"));
        }
        if self.disk_low {
            words.push(
                "disk: less than 4 MiB free, telemetry is dropped and counted; free some space".to_owned(),
            );
        }
        if self.clock_wrong {
            words.push("clock: off by more than an hour; set the box's clock".to_owned());
        }
        words
    }
}

/// Asks the TPM for a signature now and then: the only question that shows that it would answer the next handshake.
async fn ask_tpm(keys: NodeKeys, ailment: watch::Sender<Option<String>>) {
    let NodeKeys::Tpm(tpm) = keys else { return };
    loop {
        let asked = tpm.clone();
        let answer = tokio::task::spawn_blocking(move || asked.sign(b"noderr-health")).await;
        let why = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let pause = if why.is_some() { BEAT } else { TPM_EVERY };
        ailment.send_replace(why);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_come_once_for_each_change() {
        let well = Ailments::default();
        let ill = Ailments { tpm: Some("silent".to_owned()), disk_low: true, ..Ailments::default() };
        let codes = |before, now| changes(before, now).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(codes(&well, &ill), [AlertCode::TpmUnreachable, AlertCode::DiskFull]);
        assert_eq!(codes(&ill, &ill), []);
        assert_eq!(codes(&ill, &well), [AlertCode::TpmRecovered, AlertCode::DiskRecovered]);
        let scratched = Ailments { damaged: 2, ..Ailments::default() };
        assert_eq!(codes(&well, &scratched), [AlertCode::RecordsDamaged]);
        assert_eq!(codes(&scratched, &scratched), []);
    }
}
